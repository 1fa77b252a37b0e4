"""The images that the nodes run: KubeVirt's programs in a Debian root with libvirt and QEMU, and the pods' sandbox.

Both are kept in the cache under a hash of what they are made from. Debian's root takes the minute; KubeVirt's programs
go on top of it, so a new build of them doesn't download Debian again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path

from lab.archive import pack
from lab.build import MODULES, Programs
from lab.console import say
from lab.image import mirror
from lab.process import run

KUBEVIRT_IMAGE = "docker.io/local/kubevirt:lab"
PAUSE_IMAGE = "registry.k8s.io/pause:3.10"
SUITE = "trixie"
PACKAGES = (
    "libvirt-daemon", "libvirt-daemon-driver-qemu", "libvirt-daemon-log", "libvirt-clients", "qemu-system-x86",
    "qemu-utils", "seabios", "ovmf", "swtpm", "swtpm-tools", "nftables", "iproute2", "procps", "libcap2-bin",
    "ca-certificates",
)  # fmt: skip
QEMU_USER = 107
"""The uid that KubeVirt's launchers run as; disks belong to it."""

_IN_IMAGE = (
    "virt-api", "virt-controller", "virt-handler", "virt-launcher", "virt-launcher-monitor",
    "virt-chroot", "virt-freezer", "virt-tail", "virt-probe",
)  # fmt: skip
_DROPPED = (
    "dev", "var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale",
    "usr/share/info", "var/log", "usr/lib/systemd/system",
)  # fmt: skip

# Debian has the one libvirtd only. KubeVirt starts `virtqemud` and talks to that one's socket.
_VIRTQEMUD = """\
#!/bin/sh
if [ "$(id -u)" = 0 ]; then sockets=/var/run/libvirt; else sockets=${XDG_RUNTIME_DIR:-/var/run}/libvirt; fi
mkdir -p "$sockets"
for kind in sock sock-ro; do ln -sfn "libvirt-$kind" "$sockets/virtqemud-$kind"; done
exec /usr/sbin/libvirtd "$@"
"""
_DAEMON = 'listen_tls = 0\nlisten_tcp = 0\nlog_outputs = "1:stderr"\n'
# Within a pod nobody may make namespaces or write cgroups, and there is no security driver.
_QEMU = """\
stdio_handler = "logd"
user = "qemu"
group = "qemu"
namespaces = []
cgroup_controllers = []
security_driver = "none"
remember_owner = 0
"""
_FIRMWARE = {"OVMF_CODE.fd": "OVMF_CODE_4M.fd", "OVMF_VARS.fd": "OVMF_VARS_4M.fd"}
"""KubeVirt's names of EFI firmware, and Debian's."""
# virt-handler reads what the node's QEMU can from these files. Without /dev/kvm it must ask for plain emulation.
_LABELLER = """\
#!/bin/sh
set -e
out=/var/lib/kubevirt-node-labeller
mkdir -p $out
[ ! -s $out/capabilities.xml ] || exit 0
libvirtd --daemon
for attempt in $(seq 100); do virsh --quiet version >/dev/null 2>&1 && break; sleep 0.1; done
virsh domcapabilities --machine q35 --arch x86_64 --virttype qemu >$out/virsh_domcapabilities.xml
virsh hypervisor-cpu-baseline --features --machine q35 --arch x86_64 --virttype qemu \\
  $out/virsh_domcapabilities.xml >$out/supported_features.xml
virsh capabilities >$out/.capabilities
mv $out/.capabilities $out/capabilities.xml
"""
_PAUSE = "#!/bin/busybox sh\ntrap 'exit 0' TERM INT\nwhile :; do busybox sleep 100000 & wait; done\n"


def images(cache: Path, programs: Programs) -> tuple[Path, ...]:
    """The archives of all images that nodes need to run KubeVirt, made now if the cache has none."""
    shelf = cache / "images"
    shelf.mkdir(parents=True, exist_ok=True)
    return (_kubevirt(shelf, programs), _pause(shelf))


def debian(cache: Path) -> Path:
    """Debian's part of it alone: nothing of it waits for a compiler."""
    shelf = cache / "images"
    shelf.mkdir(parents=True, exist_ok=True)
    return _debian(shelf)


def _key(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _kubevirt(shelf: Path, programs: Programs) -> Path:
    recipe = (
        SUITE,
        *PACKAGES,
        *_DROPPED,
        _VIRTQEMUD,
        _DAEMON,
        _QEMU,
        _LABELLER,
        *_FIRMWARE,
        "container-disk",
    )
    archive = shelf / f"kubevirt-{_key(programs['virt-api'].parent.name, *recipe)}.tar"
    if archive.exists():
        return archive
    base = _debian(shelf)
    say("images: KubeVirt's programs into their image ...")
    with tempfile.TemporaryDirectory(dir=shelf, prefix=".kubevirt-") as work:
        root = Path(work) / "root"
        run("cp", "--archive", base, root, within=300)
        _dress(root, programs)
        pack(root, KUBEVIRT_IMAGE, archive)
    return archive


def _debian(shelf: Path) -> Path:
    """A Debian root with libvirt and QEMU, trimmed."""
    root = shelf / f"debian-{SUITE}-{_key(SUITE, *PACKAGES, *_DROPPED)}"
    if root.exists():
        return root
    say(f"images: a root of Debian {SUITE} with libvirt and QEMU, about a minute ...")
    address = mirror()
    with tempfile.TemporaryDirectory(dir=shelf, prefix=".debian-") as work:
        made = Path(work) / "root"
        run("debootstrap", "--variant=minbase", "--include=ca-certificates", SUITE, made, address, within=900)
        (made / "etc/apt/sources.list").write_text(f"deb {address} {SUITE} main\n")
        for file in ("resolv.conf", "hosts"):
            shutil.copy(Path("/etc") / file, made / "etc" / file)
        (made / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
        (made / "usr/sbin/policy-rc.d").chmod(0o755)
        quiet = ("env", "DEBIAN_FRONTEND=noninteractive")
        run("chroot", made, "apt-get", "-qq", "update", within=300)
        run(
            *("chroot", made, *quiet, "apt-get", "-qq", "install", "--no-install-recommends", *PACKAGES),
            within=900,
        )
        (made / "usr/sbin/policy-rc.d").unlink()
        for folder in _DROPPED:
            shutil.rmtree(made / folder, ignore_errors=True)
            (made / folder).mkdir(parents=True)
        made.rename(root)
    return root


def _dress(root: Path, programs: Programs) -> None:
    """Make KubeVirt's handler and launcher feel at home in a Debian *root*."""
    for name in _IN_IMAGE:
        shutil.copy(programs[name], root / "usr/bin" / name)
    _compile_container_disk(root / "usr/bin/container-disk")
    for name, ours in _FIRMWARE.items():
        (root / "usr/share/OVMF" / name).symlink_to(ours)
    run("setcap", "cap_net_bind_service+ep", root / "usr/bin/virt-launcher-monitor")
    with (root / "etc/passwd").open("a") as file:
        file.write(f"qemu:x:{QEMU_USER}:{QEMU_USER}:qemu:/home/qemu:/bin/sh\n")
    with (root / "etc/group").open("a") as file:
        file.write(f"qemu:x:{QEMU_USER}:\n")
    home = root / "home/qemu"
    home.mkdir(parents=True, exist_ok=True)
    run("chown", f"{QEMU_USER}:{QEMU_USER}", home)
    # Relative: virt-handler opens /proc/PID/root/var/run/..., which an absolute link would lead out of.
    var_run = root / "var/run"
    if var_run.is_symlink():
        var_run.unlink()
    var_run.symlink_to("../run")
    for name, text in (("usr/sbin/virtqemud", _VIRTQEMUD), ("usr/bin/node-labeller.sh", _LABELLER)):
        (root / name).write_text(text)
        (root / name).chmod(0o755)
    settings = root / "etc/libvirt"
    (settings / "qemu.conf").write_text(_QEMU)
    for name in ("virtqemud.conf", "libvirtd.conf"):
        (settings / name).write_text(_DAEMON)
    run("chmod", "--recursive", "a+rX", settings)  # the launcher isn't root


def _compile_container_disk(program: Path) -> None:
    """KubeVirt's one C program: it keeps the pod alive that holds a hotplugged volume."""
    module = ("GOFLAGS=-mod=readonly", "go", "mod", "download", "-json", "kubevirt.io/kubevirt")
    source = Path(json.loads(run("env", "-C", MODULES / "kubevirt", *module))["Dir"])
    run("gcc", "-O2", "-static", "-o", program, source / "cmd/container-disk-v2alpha/main.c")


def _pause(shelf: Path) -> Path:
    busybox = Path("/bin/busybox")
    archive = shelf / f"pause-{_key(_PAUSE, hashlib.sha256(busybox.read_bytes()).hexdigest())}.tar"
    if not archive.exists():
        with tempfile.TemporaryDirectory(dir=shelf, prefix=".pause-") as work:
            root = Path(work) / "root"
            (root / "bin").mkdir(parents=True)
            shutil.copy(busybox, root / "bin/busybox")
            (root / "pause").write_text(_PAUSE)
            (root / "pause").chmod(0o755)
            root.chmod(0o755)
            pack(root, PAUSE_IMAGE, archive, entrypoint=("/pause",))
    return archive
