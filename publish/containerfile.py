"""The `Containerfile`, from what `tests/lab/image.py` says is in the image: ``python -m publish.containerfile > Containerfile``.

One description for both ways to make it. What only one of them does: the lab's trims Debian further, since it makes the root itself.
"""

from __future__ import annotations

import sys

from lab.image import AGENT_PACKAGES, CONSOLE_SCRIPT, EXTRAS, NAME, PACKAGES, SHORTENED, SITE, SUITE, USER

UV = "0.13.9"
"""As in pyproject.toml, which a test compares."""


def containerfile() -> str:
    """The whole file."""
    base = f"docker.io/library/debian:{SUITE}-slim"
    extras = " ".join(f"--extra {extra}" for extra in EXTRAS)
    console = CONSOLE_SCRIPT.replace("\n", "\\n")
    shortened = "".join(f" && sed -i '{lines + 1},$d' /{name} \\\n" for name, lines in SHORTENED.items())
    return f"""\
# ringfence's image, for those who have a container engine. Written by `make published` from tests/lab/image.py: change it there.
#   podman build -t {NAME} .
# With Debian's fence agents, for FenceDevices of the driver `agent` (15 MB more; those for clouds and SNMP lack their libraries):
#   podman build --build-arg FENCE_AGENTS=1 -t {NAME} .
FROM {base} AS packages
RUN apt-get update \\
 && apt-get install --yes --no-install-recommends ca-certificates python3 python3-pip
COPY pyproject.toml uv.lock README.md LICENSE /src/
WORKDIR /src
RUN pip install --quiet --break-system-packages uv=={UV} \\
 && uv export --quiet --frozen --no-dev --no-emit-project {extras} --output-file requirements.txt \\
 && uv pip install --quiet --require-hashes --no-deps --only-binary :all: --link-mode copy \\
      --target /site --requirement requirements.txt \\
 && rm -rf /site/bin /site/.lock \\
 && python3 -m compileall -q --invalidation-mode unchecked-hash \\
      -s /site -p /{SITE} /site

FROM {base}
ARG FENCE_AGENTS=
# Every run of ipmitool reads the names of all vendors (4.6 MB) and fails on an empty list: the first few stay.
RUN apt-get update \\
 && apt-get install --yes --no-install-recommends {" ".join(PACKAGES)} \\
{shortened} && if [ -n "$FENCE_AGENTS" ]; then \\
      apt-get install --yes --no-install-recommends \\
        {" ".join(AGENT_PACKAGES)} \\
      && cd /tmp && apt-get download fence-agents && dpkg --force-depends --install fence-agents_*.deb \\
      && rm fence-agents_*.deb; \\
    fi \\
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \\
 && groupadd --gid {USER} ringfence \\
 && useradd --uid {USER} --gid {USER} --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin ringfence
COPY --from=packages /site /{SITE}
COPY operator/ringfence /{SITE}/ringfence
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /{SITE}/ringfence \\
 && printf '{console}' > /usr/local/bin/ringfence \\
 && chmod 755 /usr/local/bin/ringfence
ENV LANG=C.UTF-8 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER {USER}:{USER}
WORKDIR /
"""


if __name__ == "__main__":
    sys.stdout.write(containerfile())
