"""One protected VM as KubeVirt and QEMU have it, and its volume as Kubernetes has it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Vm:
    name: str
    node: str
    strategy: str = "Always"
    stopped: bool = False
    """Its user has stopped it."""
    hangs: bool = False
    """Its guest doesn't hear the power button."""
    deleted: bool = False
    """Its user has deleted it; the object stays for as long as its launcher does."""
    vmi: int = 1
    phase: str = "Running"
    pod: str = ""
    launcher_on: str = ""
    released_at: float | None = None
    lock_refused_at: float | None = None
    only: str = ""
    """The one node on which it may run; empty: on any."""
    locked: bool = True
    """Its disk is a file, which QEMU locks; a block volume has no lock."""
    late_start: bool = False
    """Its stuck instance tries again just when it is deleted, and is Running for its last half second."""
    deleting: bool = False
    kept: bool = False
    """Its ended instance stands there as Failed, and KubeVirt makes no other while it does (Once, Manual)."""
    asked: bool = False
    """A start is requested."""
    unschedulable: str = ""
    """Why no node takes its new instance, in the scheduler's words."""
    target: str = ""
    """The node to which it is being migrated."""
    target_pod: str = ""
    moves_at: float = 0.0
    """When the migration is through."""
    fails: int = 0
    """So many starts more come to nothing."""
    failures: int = 0
    """Starts in a row that have."""
    retry_at: float = 0.0
    """Until then KubeVirt starts it no more."""
    blocked: str = ""
    """KubeVirt starts it only after a person has done something."""
    snapshot: str = ""
    """The VirtualMachineSnapshot of it that is under way."""
    restore: str = ""
    """The VirtualMachineRestore of it that is under way."""
    running_at: float = 0.0
    """Since when it runs."""
    gone: bool = False
    """There is no instance, and KubeVirt makes none before it is asked to (RerunOnFailure, Manual)."""
    orphaned_at: dict[str, float] = field(default_factory=dict)
    """Since when the kubelet of a node could know that its QEMU's launcher is no more."""
    qemu: set[str] = field(default_factory=set)
    """Nodes on which a QEMU of this VM runs."""
    guest: str = field(init=False)
    """As agents report it."""

    def __post_init__(self) -> None:
        self.guest = f"default_{self.name}"

    @property
    def uid(self) -> str:
        """Of its present instance."""
        return f"vmi-{self.name}-{self.vmi}"


@dataclass
class Volume:
    """A volume that has to be attached to the node of its VM's launcher; ``shared``: to several at once."""

    shared: bool
    attached: set[str]
    unwanted_since: dict[str, float] = field(default_factory=dict)
    wanted_since: float | None = None
