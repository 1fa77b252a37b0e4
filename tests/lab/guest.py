"""The ticking guest: a kernel and an initramfs of ours on a bootable disk, for VMs that tell where and when they ran.

Partition 1 (FAT16, syslinux) boots; partition 2, from sector ``ticks.SECTOR``, is the ticks'. Once a second the guest
writes ``seq instance epoch`` to the partition's first sector and, as history, to sector ``seq``, each with fsync. Before
each write it reads back what it wrote last: somebody else's tick there means that two guests write this disk, and it
cries FOREIGN-WRITE on its console. Nothing at all there is no tick: its storage has shut the node out. The instance is the
guest's own boot id; the sequence goes on from the disk.

Where the firmware is EFI (systemd-boot starts the same kernel) each boot leaves a variable of its own in it, and the guest
says how many there are: ``EFI-BOOT 2`` in a VM's second life means that its firmware's state came along.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from pathlib import Path

from lab.console import say
from lab.process import run
from lab.roots import QEMU_USER

KERNEL = "linux-image-cloud-amd64"
_MODULES = (
    "drivers/virtio/virtio_ring", "drivers/virtio/virtio", "drivers/virtio/virtio_pci_modern_dev",
    "drivers/virtio/virtio_pci_legacy_dev", "drivers/virtio/virtio_pci", "drivers/block/virtio_blk",
)  # fmt: skip
_EFI_MODULE = "fs/efivarfs/efivarfs"
_LOADER = "/usr/lib/systemd/boot/efi/systemd-bootx64.efi"
_APPLETS = (
    "sh", "mount", "insmod", "cat", "date", "sleep", "echo", "dd", "printf", "cut", "tr", "poweroff", "ls", "grep",
)  # fmt: skip
_OPTIONS = "console=ttyS0 quiet loglevel=3 mitigations=off nokaslr panic=1"
_CONFIG = f"""SERIAL 0 115200
DEFAULT guest
PROMPT 0
TIMEOUT 0
LABEL guest
  KERNEL vmlinuz
  INITRD initrd.gz
  APPEND {_OPTIONS}
"""
_EFI_CONFIG = "timeout 0\ndefault guest.conf\n"
_EFI_ENTRY = f"title guest\nlinux /vmlinuz\ninitrd /initrd.gz\noptions {_OPTIONS}\n"
_INIT = """#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
instance=$(cut -c1-8 /proc/sys/kernel/random/boot_id)
echo "GUEST-UP $instance after $(cut -d' ' -f1 /proc/uptime) s"
for module in /modules/*.ko; do insmod "$module"; done
variables=/sys/firmware/efi/efivars
boots() { ls $variables | grep -c '^RingfenceBoot'; }
if [ -d $variables ]; then
  insmod /efivarfs.ko
  mount -t efivarfs efivarfs $variables
  own=$variables/RingfenceBoot$(($(boots) + 1))-5c1a7d3e-0b7e-4c59-9d2b-72696e676665
  printf '\\007\\000\\000\\000%s' "$instance" >$own # kept without power, readable by boot and system
  echo "EFI-BOOT $(boots)"
fi
[ ! -e /sys/class/tpm/tpm0 ] || echo "TPM $(cat /sys/class/tpm/tpm0/tpm_version_major)"
tries=0
while [ ! -b /dev/vda2 ] && [ $tries -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
last() { dd if=/dev/vda2 of=/last bs=512 count=1 iflag=direct 2>/dev/null && tr -d '\\0' </last; }
sequence=$(last | cut -d' ' -f1)
case $sequence in '' | *[!0-9]*) sequence=0 ;; esac
mine=
while :; do
  sequence=$((sequence + 1))
  if found=$(last) && [ -n "$found" ]; then
    found=${found%%  *}
    if [ -n "$mine" ] && [ "$found" != "$mine" ]; then echo "FOREIGN-WRITE mine=<$mine> found=<$found>"; fi
  else
    echo "READ-NOTHING after $mine"
  fi
  mine="$sequence $instance $(date +%s)"
  if printf '%-511s\\n' "$mine" | dd of=/dev/vda2 bs=512 count=1 conv=notrunc,fsync 2>/dev/null &&
    printf '%-511s\\n' "$mine" | dd of=/dev/vda2 bs=512 count=1 seek=$sequence conv=notrunc,fsync 2>/dev/null; then
    echo "TICK $mine"
  else
    echo "TICK-IO-ERROR $mine"
  fi
  sleep 1
done
"""


def prepare(cache: Path) -> Path:
    """The disk that every guest's disk is a copy of; made now if the cache has none."""
    recipe = (KERNEL, _INIT, _CONFIG, _EFI_CONFIG, _EFI_ENTRY, _EFI_MODULE, *_MODULES, *_APPLETS)
    key = hashlib.sha256("\0".join(recipe).encode()).hexdigest()[:16]
    disk = cache / "guests" / f"disk-{key}.img"
    if disk.exists():
        return disk
    say("guests: making their disk ...")
    disk.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=disk.parent) as name:
        work = Path(name)
        kernel, modules, efivarfs = _kernel(work)
        _initramfs(work, modules, efivarfs)
        _write_disk(work, kernel)
        (work / "disk.img").rename(disk)
    return disk


def kernel(work: Path) -> tuple[Path, Path]:
    """Debian's kernel, unpacked below ``work``: the kernel itself, and the folder of its modules."""
    depends = run("apt-cache", "depends", KERNEL)
    package = re.search(r"linux-image-[0-9]\S+", depends)
    assert package is not None, f"{KERNEL} names no kernel: run apt-get update"
    shell = f"cd {work} && apt-get -q download {package[0]} && dpkg-deb -x {package[0]}_*.deb kernel"
    run("sh", "-c", shell, within=300)
    version = package[0].removeprefix("linux-image-")
    return work / "kernel/boot" / f"vmlinuz-{version}", work / "kernel/lib/modules" / version / "kernel"


def _kernel(work: Path) -> tuple[Path, list[Path], Path]:
    """Debian's kernel, the modules that the guest loads, in the order of loading, and the one for EFI's variables."""
    image, tree = kernel(work)
    found = []
    for number, module in enumerate(_MODULES):
        source = next(tree.glob(f"{module}.ko*"), None)
        if source is None:
            continue  # built into this kernel
        found.append(plain(source, work / f"{number:02}-{Path(module).name}.ko"))
    efivarfs = plain(next(tree.glob(f"{_EFI_MODULE}.ko*")), work / "efivarfs.ko")
    return image, found, efivarfs


def plain(source: Path, target: Path) -> Path:
    """The module, unpacked."""
    if source.suffix == ".xz":
        run("sh", "-c", f"xz -dc {source} > {target}")
    else:
        shutil.copy(source, target)
    return target


def _initramfs(work: Path, modules: list[Path], efivarfs: Path) -> None:
    root = work / "initramfs"
    for folder in ("bin", "proc", "sys", "dev", "modules"):
        (root / folder).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    for applet in _APPLETS:
        (root / "bin" / applet).symlink_to("busybox")
    for module in modules:
        shutil.copy(module, root / "modules" / module.name)
    shutil.copy(efivarfs, root / "efivarfs.ko")
    (root / "init").write_text(_INIT)
    (root / "init").chmod(0o755)
    pack(root, work / "initrd.gz", "gzip -9")


def pack(root: Path, archive: Path, through: str = "cat") -> None:
    """All below ``root`` as an initramfs."""
    listed = "find . -print0 | LC_ALL=C sort -z | cpio --null -o -H newc --quiet -R 0:0"
    run("sh", "-c", f"cd {root} && {listed} | {through} > {archive}")


def _write_disk(work: Path, kernel: Path) -> None:
    disk, boot = work / "disk.img", work / "boot.fat"
    _empty(disk, 64 << 20)
    run("sfdisk", "-q", disk, text="label: dos\n2048,49152,6,*\n65536,,83\n")
    _empty(boot, 24 << 20)
    (work / "syslinux.cfg").write_text(_CONFIG)
    (work / "loader.conf").write_text(_EFI_CONFIG)
    (work / "guest.conf").write_text(_EFI_ENTRY)
    run("mkfs.fat", "-F16", boot)
    run("mmd", "-i", boot, "::EFI", "::EFI/BOOT", "::loader", "::loader/entries")
    for source, name in (
        (kernel, "vmlinuz"),
        (work / "initrd.gz", "initrd.gz"),
        (work / "syslinux.cfg", "syslinux.cfg"),
        (Path(_LOADER), "EFI/BOOT/BOOTX64.EFI"),
        (work / "loader.conf", "loader/loader.conf"),
        (work / "guest.conf", "loader/entries/guest.conf"),
    ):
        run("mcopy", "-i", boot, source, f"::{name}")
    run("syslinux", "--install", boot)
    run("dd", f"if={boot}", f"of={disk}", "bs=512", "seek=2048", "conv=notrunc,sparse")
    run("dd", "if=/usr/lib/syslinux/mbr/mbr.bin", f"of={disk}", "bs=440", "count=1", "conv=notrunc")


def _empty(path: Path, size: int) -> None:
    path.touch()
    os.truncate(path, size)


def make_disk(template: Path, disk: Path) -> None:
    """A guest's own disk."""
    run("cp", "--sparse=always", template, disk)
    os.chown(disk, QEMU_USER, QEMU_USER)
