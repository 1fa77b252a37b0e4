"""The guest: Debian's cloud kernel with an initramfs whose init ticks, on a bootable disk made without a mount.

The disk is raw: a FAT partition with syslinux, kernel and initramfs, and a second partition that holds nothing but
ticks, one sector a second, so ``TICKS_MIB`` is also how long a guest may run.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lab.console import say
from lab.process import run

INIT = Path(__file__).with_name("guest-init.sh")
SECTOR = 512
BOOT_SECTOR, BOOT_MIB = 2048, 24
TICKS_SECTOR, TICKS_MIB = 65536, 32
# In the order in which they need each other.
_MODULES = (
    "drivers/virtio/virtio_ring.ko", "drivers/virtio/virtio.ko", "drivers/virtio/virtio_pci_modern_dev.ko",
    "drivers/virtio/virtio_pci_legacy_dev.ko", "drivers/virtio/virtio_pci.ko", "drivers/block/virtio_blk.ko",
)  # fmt: skip
_MBR = Path("/usr/lib/syslinux/mbr/mbr.bin")
_LOADER = """\
SERIAL 0 115200
PROMPT 0
TIMEOUT 0
DEFAULT guest
LABEL guest
  KERNEL vmlinuz
  INITRD initrd
  APPEND console=ttyS0 quiet loglevel=3 mitigations=off nokaslr
"""


@dataclass(frozen=True, slots=True)
class Guest:
    """A bootable disk image, to be copied for each VM."""

    disk: Path

    def install(self, target: Path) -> None:
        """Write a fresh disk to *target*."""
        target.parent.mkdir(parents=True, exist_ok=True)
        run("cp", "--sparse=always", self.disk, target)


def guest(cache: Path) -> Guest:
    """The guest's disk, made now if the cache has none."""
    shelf = cache / "guests"
    shelf.mkdir(parents=True, exist_ok=True)
    package = _kernel_package()
    recipe = (package, INIT.read_text(), _LOADER, *_MODULES, str((BOOT_SECTOR, BOOT_MIB, TICKS_SECTOR, TICKS_MIB)))
    disk = shelf / f"{hashlib.sha256(chr(0).join(recipe).encode()).hexdigest()[:16]}.raw"
    if not disk.exists():
        say(f"guest: a disk with {package} that ticks ...")
        with tempfile.TemporaryDirectory(dir=shelf, prefix=".making-") as work:
            bench = Path(work)
            bench.chmod(0o755)
            kernel, modules = _unpack(package, bench)
            initramfs = _initramfs(modules, bench)
            _disk(kernel, initramfs, bench).rename(disk)
    return Guest(disk)


def _kernel_package() -> str:
    for line in run("apt-cache", "depends", "linux-image-cloud-amd64").splitlines():
        word = line.split()[-1]
        if word.startswith("linux-image-") and word != "linux-image-cloud-amd64":
            return word
    raise LookupError("apt knows no linux-image-cloud-amd64: run apt-get update")


def _unpack(package: str, bench: Path) -> tuple[Path, Path]:
    """Fetch the kernel's package; return the kernel and the folder of its modules."""
    subprocess.run(["apt-get", "-qq", "download", package], cwd=bench, check=True, capture_output=True)
    (deb,) = bench.glob(f"{package}_*.deb")
    root = bench / "kernel"
    run("dpkg-deb", "--extract", deb, root)
    version = package.removeprefix("linux-image-")
    modules = root / "lib/modules" / version / "kernel"
    if not modules.exists():
        modules = root / "usr/lib/modules" / version / "kernel"
    return root / "boot" / f"vmlinuz-{version}", modules


def _initramfs(modules: Path, bench: Path) -> Path:
    root = bench / "initramfs"
    for folder in ("bin", "proc", "sys", "dev", "modules"):
        (root / folder).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    for name in ("sh", "mount", "insmod", "cat", "date", "sleep", "dd", "printf", "cut", "tr", "echo"):
        (root / "bin" / name).symlink_to("busybox")
    order = []
    for path in _MODULES:
        plain, packed = modules / path, modules / f"{path}.xz"
        # A kernel may have it built in: then there is nothing to load.
        if plain.exists() or packed.exists():
            order.append(plain.name)
            text = plain.read_bytes() if plain.exists() else lzma.decompress(packed.read_bytes())
            (root / "modules" / plain.name).write_bytes(text)
    (root / "modules/order").write_text("\n".join(order))
    shutil.copy(INIT, root / "init")
    (root / "init").chmod(0o755)
    names = "\0".join(sorted(str(path.relative_to(root)) for path in [root, *root.rglob("*")]))
    packed_names = subprocess.run(
        ["cpio", "--null", "--create", "--format=newc", "--quiet", "--owner=0:0"],
        cwd=root, input=names.encode(), check=True, capture_output=True,
    ).stdout  # fmt: skip
    out = bench / "initrd"
    out.write_bytes(subprocess.run(["gzip", "-9"], input=packed_names, check=True, capture_output=True).stdout)
    return out


def _disk(kernel: Path, initramfs: Path, bench: Path) -> Path:
    boot, disk, loader = bench / "boot.fat", bench / "disk.raw", bench / "syslinux.cfg"
    loader.write_text(_LOADER)
    boot.touch()
    os.truncate(boot, BOOT_MIB << 20)
    run("mkfs.fat", "-F16", boot)
    for file, name in ((kernel, "vmlinuz"), (initramfs, "initrd"), (loader, "syslinux.cfg")):
        run("mcopy", "-i", boot, file, f"::{name}")
    run("syslinux", "--install", boot)
    disk.touch()
    os.truncate(disk, TICKS_SECTOR * SECTOR + (TICKS_MIB << 20))
    table = f"label: dos\n{BOOT_SECTOR},{(BOOT_MIB << 20) // SECTOR},6,*\n{TICKS_SECTOR},,83\n"
    run("sfdisk", "--quiet", disk, text=table)
    with disk.open("r+b") as target:
        target.write(_MBR.read_bytes()[:440])
        target.seek(BOOT_SECTOR * SECTOR)
        target.write(boot.read_bytes())
    run("fallocate", "--dig-holes", disk)
    return disk
