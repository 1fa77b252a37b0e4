"""``ringfence support-bundle``: what somebody needs who shall help, in one archive that may be shown.

What can't be read is named, not guessed; everything passes `ringfence.cli.redaction` on its way in. Of Secrets not even the names are asked
for.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ringfence import __version__
from ringfence.cli import doctor, redaction
from ringfence.cli.doctor.look import OWN
from ringfence.cli.document import Document
from ringfence.cli.picture import RESOURCES, Reader
from ringfence.ports import ClusterError, Unavailable

LOG_LINES = 5000
"""The last so many of each container."""
LOG_BYTES = 4 * 1024 * 1024
"""At most, of each container."""


@dataclass(frozen=True, slots=True)
class Bundle:
    files: Mapping[str, str]
    """By name, blacked out."""
    missing: tuple[str, ...]
    """What could not be read, and why."""
    at: datetime


def collect(reader: Reader, release: str, now: datetime) -> Bundle:
    """Read it all; ``release`` is ringfence's namespace. Raises Unavailable where nothing answers."""
    files: dict[str, str] = {
        "about.json": _json({"madeAt": now.isoformat(), "command": __version__, "namespace": release})
    }
    missing: list[str] = []
    pods: tuple[Document, ...] = ()
    for name, path in _paths(release):
        try:
            answer = reader.fetch(path)
        except Unavailable:
            raise
        except ClusterError as error:
            missing.append(f"{name}: {error}")
            continue
        files[f"{name}.json"] = _json(redaction.tree(answer))
        if name == "release/pods":
            pods = Document(answer).parts("items")
    for name, path in _logs(release, pods):
        try:
            files[name] = redaction.text(reader.fetch_text(path))
        except ClusterError as error:
            if "previous" not in name:  # most containers have none
                missing.append(f"{name}: {error}")
    try:
        files["members.json"] = _json(redaction.tree(reader.members(release)))
    except ClusterError as error:
        missing.append(f"members: {error}")
    findings = doctor.examine(doctor.Look(reader, release, now), tuple(doctor.PARTS))
    files["doctor.json"] = _json(redaction.tree([dataclasses.asdict(one) for one in findings]))
    files["missing.txt"] = "".join(redaction.text(f"{line}\n") for line in missing)
    return Bundle(files, tuple(missing), now)


def _paths(release: str) -> Iterator[tuple[str, str]]:
    for plural in RESOURCES:
        yield (
            ("nodes", "/api/v1/nodes") if plural == "nodes" else (f"ringfence/{plural}", f"{OWN}/{plural}")
        )
    yield "version", "/version"
    yield "events", "/api/v1/events?fieldSelector=reportingComponent%3Dringfence.io%2Fringfence-controller"
    yield "release/pods", f"/api/v1/namespaces/{release}/pods"
    yield "release/events", f"/api/v1/namespaces/{release}/events"
    yield "release/deployments", f"/apis/apps/v1/namespaces/{release}/deployments"
    yield "release/daemonsets", f"/apis/apps/v1/namespaces/{release}/daemonsets"
    yield "release/leases", f"/apis/coordination.k8s.io/v1/namespaces/{release}/leases"
    yield "node-leases", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
    yield "kubevirt/kubevirts", "/apis/kubevirt.io/v1/kubevirts"
    yield "kubevirt/instances", "/apis/kubevirt.io/v1/virtualmachineinstances"
    yield "storage/storageclasses", "/apis/storage.k8s.io/v1/storageclasses"
    yield "storage/volumeattachments", "/apis/storage.k8s.io/v1/volumeattachments"


def _logs(release: str, pods: tuple[Document, ...]) -> Iterator[tuple[str, str]]:
    for pod in pods:
        for container in pod.parts("spec", "containers"):
            inside = container.text("name")
            path = (
                f"/api/v1/namespaces/{release}/pods/{pod.name}/log?container={inside}"
                f"&tailLines={LOG_LINES}&limitBytes={LOG_BYTES}&timestamps=true"
            )
            name = f"logs/{pod.name}_{inside}"
            yield f"{name}.log", path
            yield f"{name}.previous.log", f"{path}&previous=true"


def write(packed: Bundle, target: Path) -> None:
    """As .tar.gz, for its owner only; never over a file that is there. Raises OSError."""
    folder = target.name.removesuffix(".tar.gz")
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as raw, tarfile.open(fileobj=raw, mode="w:gz") as archive:
        for name, content in sorted(packed.files.items()):
            body = content.encode()
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size, entry.mtime, entry.mode = len(body), int(packed.at.timestamp()), 0o600
            archive.addfile(entry, io.BytesIO(body))


def _json(value: object) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"
