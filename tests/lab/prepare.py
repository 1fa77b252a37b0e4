"""Everything that is dear to make, made once and kept outside the checkout: packages, programs, images, guests, helm.

On a fresh machine this is most of the half hour; Debian's roots, the guests and helm come down beside the compiling.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lab import guest, image, machine, roots
from lab.build import binaries, cache_root, programs
from lab.console import say
from lab.helm import helm
from lab.template import template
from lab.watchdog import softdog

PROJECT = Path(__file__).resolve().parents[2]
_once = threading.Lock()


@dataclass(frozen=True, slots=True)
class Prepared:
    bin: Path
    """All programs, by name."""
    template: Path
    """A containerd store with every image of the cluster, ours included."""
    guest: Path
    """The disk that guests' disks are copies of."""
    image: Path
    """Our image."""
    helm: Path


def prepare() -> Prepared:
    """Make what is missing. Seconds when nothing is."""
    with _once:
        machine.check()
        machine.equip()
        cache = cache_root()
        cache.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(max_workers=3) as beside:
            guests = beside.submit(guest.prepare, cache)
            tool = beside.submit(helm)
            debian = beside.submit(roots.debian, cache)
            ours = beside.submit(image.build, cache, PROJECT, agents=True)
            built = programs(cache)
            debian.result()
            softdog.prepare()
            archives = roots.images(cache, built)
            store = template(cache, archives, ours.result())
            return Prepared(binaries(), store, guests.result(), ours.result(), tool.result())


if __name__ == "__main__":
    print(prepare())
    say("all is prepared")
