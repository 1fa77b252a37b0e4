"""What the document of the image's content says."""

from __future__ import annotations

import json

from lab.sbom import debian, document, itself, wheels

STATUS = """\
Package: ipmitool
Status: install ok installed
Architecture: amd64
Version: 1.8.19-4+deb12u2
Description: utility for IPMI control
 a second line: with a colon

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 1

Package: libstdc++6
Status: install ok installed
Architecture: amd64
Version: 2:12.2.0-14
"""
LOCK = """\
aiohttp==3.13.2 \\
    --hash=sha256:00
pyyaml==6.0.3 ; sys_platform == 'linux' \\
    --hash=sha256:11
"""


def test_what_is_installed_is_named_by_where_it_is_from() -> None:
    assert [part["purl"] for part in debian(STATUS, "debian-12")] == [
        "pkg:deb/debian/ipmitool@1.8.19-4%2Bdeb12u2?arch=amd64&distro=debian-12",
        "pkg:deb/debian/libstdc%2B%2B6@2%3A12.2.0-14?arch=amd64&distro=debian-12",
    ]
    assert [part["purl"] for part in wheels(LOCK)] == ["pkg:pypi/aiohttp@3.13.2", "pkg:pypi/pyyaml@6.0.3"]


def test_the_same_content_gives_the_same_document() -> None:
    parts = [*debian(STATUS, "debian-12"), *wheels(LOCK), itself("0.1.0")]
    text = document("docker.io/local/ringfence", "0.1.0", "ab" * 32, parts)
    assert document("docker.io/local/ringfence", "0.1.0", "ab" * 32, reversed(parts)) == text
    assert document("docker.io/local/ringfence", "0.1.0", "cd" * 32, parts) != text
    told = json.loads(text)
    assert (told["bomFormat"], told["specVersion"]) == ("CycloneDX", "1.6")
    references = [part["bom-ref"] for part in told["components"]]
    assert len(references) == len(set(references)) == 5
    (edge,) = told["dependencies"]
    assert edge == {"ref": told["metadata"]["component"]["bom-ref"], "dependsOn": references}
