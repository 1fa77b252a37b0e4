"""Would this VM survive its node now? Said before anything happens, with the first reason why not (DESIGN §2)."""

from __future__ import annotations

from dataclasses import dataclass

from ringfence.core.model import Mode

RESTARTABLE = ("Always", "RerunOnFailure", "Manual", "Once")
KEPT_FAILED = ("Manual", "Once")
"""Where KubeVirt makes no other instance of one that has failed: only an incident has it started again."""


@dataclass(frozen=True, slots=True)
class VolumeLook:
    """One claim of the VM."""

    claim: str
    found: bool
    access_modes: tuple[str, ...] = ()
    attachable: bool = False
    """A CSI volume that can be attached to another node."""
    pinned_to: tuple[str, ...] = ()
    """Host names that its PersistentVolume is pinned to."""


@dataclass(frozen=True, slots=True)
class VmFacts:
    vm: str
    exists: bool
    mode: Mode
    run_strategy: str = ""
    node: str = ""
    running: bool = False
    wants_restart: bool = True
    host_devices: bool = False
    host_disks: tuple[str, ...] = ()
    volumes: tuple[VolumeLook, ...] = ()
    zone: str | None = None
    zone_trouble: str | None = None
    maintenance: str | None = None
    """The NodeMaintenance that names the node, as a clause."""
    devices: tuple[tuple[str, str | None], ...] = ()
    """Fence devices of the node: (name, why it can't be used; None if proved)."""
    by_hand: tuple[str, ...] = ()
    """Fence devices of the node that are a person (driver ``manual``), whom nobody can order."""
    methods: int | None = None
    """How many independent methods they are, where some are behind one address; None: as many as there are."""
    proofs_required: int = 1
    """Independent proofs that the zone asks for."""
    storage_fences: tuple[str, ...] = ()
    """Those of the devices that only cut the node from its storage."""
    not_cut: tuple[str, ...] = ()
    """What the VM writes to that none of them cuts, each with why, and what mends it."""
    self_fencing: bool = False
    """One of them is the node's own watchdog: total isolation then stops its guests."""
    healthy_others: int = 0
    """Other nodes that could take it."""


@dataclass(frozen=True, slots=True)
class Protection:
    protected: bool
    reason: str
    message: str


def assess(facts: VmFacts) -> Protection:
    """The VM's condition ``Protected``: True, or False with the first reason that stands in the way."""
    if not facts.exists:
        return Protection(
            False, "VMNotFound", f"there is no VirtualMachine {facts.vm}; name one in spec.vm.name"
        )
    if not facts.wants_restart:
        return Protection(False, "Ignored", "spec.onNodeFailure is Ignore: the VM is left alone")
    if facts.mode is not Mode.ACTIVE:
        return Protection(
            False, "Cluster" + facts.mode.value, f"HACluster mode is {facts.mode}: nothing is fenced"
        )
    if facts.run_strategy not in RESTARTABLE:
        return Protection(
            False,
            "RunStrategyNotRestartable",
            f"the VM's run strategy is {facts.run_strategy or 'not set'}: KubeVirt would not restart it",
        )
    if facts.host_devices:
        return Protection(
            False, "HostDevicePinned", "the VM uses devices of its host and can't run elsewhere"
        )
    if (trouble := _volume_trouble(facts)) is not None:
        return Protection(False, "VolumeNotShared", trouble)
    if not facts.running:
        return Protection(False, "NotRunning", "the VM does not run now: there is nothing to protect yet")
    if facts.zone is None:
        return Protection(
            False,
            "NodeNotInZone",
            facts.zone_trouble or f"node {facts.node} is in no enabled HAZone; add it to spec.nodes of one",
        )
    if facts.maintenance is not None:
        return Protection(
            False,
            "NodeInMaintenance",
            f"node {facts.node} is in maintenance ({facts.maintenance}): it is not fenced until that is deleted;"
            f" move the VM meanwhile",
        )
    if not facts.devices and facts.by_hand:
        return Protection(
            False,
            "ManualFence",
            f"only a person fences node {facts.node} ({', '.join(facts.by_hand)}): if it dies, {facts.vm} waits until somebody has"
            f" made sure that it is off and says so: ringfence fence confirm {facts.node}",
        )
    if not facts.devices:
        return Protection(
            False,
            "NoFenceDevice",
            f"no FenceDevice of zone {facts.zone} reaches node {facts.node}: after its death a person must confirm",
        )
    if len(facts.devices) < facts.proofs_required:
        return Protection(
            False,
            "TooFewProofs",
            f"zone {facts.zone} asks for {facts.proofs_required} independent proofs, and only {facts.devices[0][0]} reaches node"
            f" {facts.node}: after its death a person must confirm",
        )
    if facts.methods is not None and facts.methods < facts.proofs_required:
        names = ", ".join(sorted(name for name, _ in facts.devices))
        return Protection(
            False,
            "TooFewProofs",
            f"zone {facts.zone} asks for {facts.proofs_required} independent proofs, and {names} of node {facts.node} are one method:"
            " they are behind one address, and what one says falsely all say; after its death a person must confirm",
        )
    if unproved := [f"{name}: {why}" for name, why in facts.devices if why is not None]:
        return Protection(False, "FenceDeviceUnproved", "; ".join(unproved))
    only_storage = {name for name, _ in facts.devices} == set(facts.storage_fences)
    if only_storage and facts.not_cut:
        return Protection(
            False,
            "VolumeNotFenced",
            f"only a storage fence ({', '.join(facts.storage_fences)}) reaches node {facts.node}, and it does not cut"
            f" {', '.join(facts.not_cut)}; or add a power device",
        )
    if facts.healthy_others == 0:
        return Protection(False, "NoCapacity", f"no other node is ready to take the VM if {facts.node} dies")
    after = (
        "once its storage has shut the node out; the old guest may answer on the network for a while"
        if only_storage
        else "after the fence"
    )
    message = f"if {facts.node} dies, {facts.vm} is restarted on another node {after}"
    if facts.self_fencing:
        message += (
            f"; if {facts.node} is cut off from everything, its watchdog stops {facts.vm} and resets it"
        )
    if facts.run_strategy in KEPT_FAILED:
        message += (
            f"; if {facts.node} has rebooted before it was found down, nobody starts {facts.vm} again: KubeVirt leaves a"
            f" {facts.run_strategy} VM as it has ended"
        )
    return Protection(True, "Ready", message)


def _volume_trouble(facts: VmFacts) -> str | None:
    if facts.host_disks:
        return f"volume {facts.host_disks[0]} is a file of its host (hostDisk)"
    for volume in facts.volumes:
        if not volume.found:
            return f"claim {volume.claim} was not found"
        if volume.pinned_to:
            return f"claim {volume.claim} is bound to a volume of {', '.join(volume.pinned_to)} alone"
        if "ReadWriteMany" not in volume.access_modes and not volume.attachable:
            modes = ", ".join(volume.access_modes) or "unknown access"
            return f"claim {volume.claim} ({modes}) can't be attached to another node; use ReadWriteMany or an attachable volume"
    return None
