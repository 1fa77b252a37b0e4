"""What is in our image, as a CycloneDX document: Debian's packages, the locked wheels, and ringfence itself.

Pure: from dpkg's list and the exported lock to JSON. The same content gives the same bytes, so it says no time, and its
serial number is made from what it lists.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote

Component = dict[str, Any]

_WHEEL = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)


def debian(status: str, release: str) -> Iterator[Component]:
    """The installed packages of ``var/lib/dpkg/status``; ``release`` is Debian's, as ``debian-12``."""
    for paragraph in status.split("\n\n"):
        fields = dict(
            line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] not in " \t"
        )
        if fields.get("Status") != "install ok installed":
            continue
        name, version, architecture = fields["Package"], fields["Version"], fields["Architecture"]
        where = f"arch={architecture}&distro={release}"
        yield _component(name, version, f"pkg:deb/debian/{quote(name)}@{quote(version, safe='')}?{where}")


def wheels(lock: str) -> Iterator[Component]:
    """The packages of an exported lock (``uv export``), whose lines are ``name==version``."""
    for name, version in _WHEEL.findall(lock):
        yield _component(name, version, f"pkg:pypi/{name.lower()}@{version}")


def document(name: str, version: str, digest: str, parts: Iterable[Component]) -> str:
    """The document of the image ``name``, whose layers hash to ``digest``."""
    components = sorted(parts, key=lambda part: str(part["bom-ref"]))
    itself = {"type": "container", "bom-ref": f"{name}@sha256:{digest}", "name": name, "version": version}
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([itself, components], sort_keys=True))
    return json.dumps(
        {
            "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "serialNumber": f"urn:uuid:{serial}",
            "version": 1,
            "metadata": {"component": itself},
            "components": components,
            "dependencies": [
                {"ref": itself["bom-ref"], "dependsOn": [part["bom-ref"] for part in components]}
            ],
        },
        indent=1,
    )


def itself(version: str) -> Component:
    """ringfence, as it lies in the image."""
    found = _component("ringfence", version, f"pkg:pypi/ringfence@{version}")
    return {**found, "type": "application", "licenses": [{"license": {"id": "Apache-2.0"}}]}


def _component(name: str, version: str, purl: str) -> Component:
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
