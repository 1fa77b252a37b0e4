"""The one page of side effects: what the deciding half may ask of the world, and how the world may fail it.

Everything that leaves the process on its way to the cluster's API or to a fence device goes through a Protocol of
this page, so a decision is tested against a fake of the same shape as the adapter (``kube/``, ``fencing/``).

**Deadlines.** Every write takes ``deadline``: the latest instant of :meth:`Clock.monotonic` (CLOCK_BOOTTIME, seconds)
at which the request may still be *sent*. The adapter looks at the clock right before it sends and raises
:class:`TooLate` when the instant has passed: nothing was sent then. That is how a leader that was frozen and thaws
after its Lease has gone shoots nobody (DESIGN §3). ``None`` means no limit: for things that harm nobody late.

**Errors**, split by who must act::

    PortError
    ├── TooLate                  nobody: the right to send has run out, nothing was sent
    ├── ClusterError
    │   ├── Unavailable          time: no connection, time-out, 429, 5xx; a *write* may yet have taken effect
    │   ├── Conflict             we: somebody wrote first; read again and decide again
    │   │   └── AlreadyExists
    │   ├── NotFound             we: it is gone, or another of the same name stands there
    │   └── Refused              we or the administrator: the same request will never pass; the server's sentence
    │       └── Forbidden        the administrator: RBAC, admission policy, credentials
    └── DeviceError              ``sent_at`` tells whether an order may be on its way all the same
        ├── DeviceUnreachable    time, or whoever owns the network: no answer, or one that can't be read
        ├── DeviceRefused        the device: it answered, and said no
        ├── DeviceUnauthorized   the administrator: user or password
        └── DeviceMisconfigured  the administrator: certificate, address, parameter, no or several systems
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ringfence.core.model import Boot, PowerState

Json = dict[str, Any]
"""One JSON object of the Kubernetes API. Read it in ``kube/objects.py`` or by a pydantic model, nowhere else."""


# --- errors ------------------------------------------------------------------------------------------------------


class PortError(Exception):
    """What a port may raise; nothing else comes out of an adapter but cancellation and plain bugs."""


class TooLate(PortError):
    """The deadline for sending has passed; nothing was sent."""


class ClusterError(PortError):
    """The API server did not do what it was asked. ``status`` is HTTP's, 0 without an answer."""

    def __init__(self, sentence: str, *, status: int = 0) -> None:
        super().__init__(sentence)
        self.status = status


class Unavailable(ClusterError):
    """Transient. ``retry_after`` is the server's wish in seconds, None where it named none."""

    def __init__(self, sentence: str, *, status: int = 0, retry_after: float | None = None) -> None:
        super().__init__(sentence, status=status)
        self.retry_after = retry_after


class Conflict(ClusterError):
    """The object has another resourceVersion (or UID) than the one the request was built on."""


class AlreadyExists(Conflict):
    """An object of that name is there already."""


class NotFound(ClusterError):
    """No such object; or, where a UID was asked for, another object bears the name now."""


class Refused(ClusterError):
    """The server judged the request bad (400, 405, 422, ...); its sentence is the exception's text."""


class Forbidden(Refused):
    """Refused by authentication, RBAC or an admission policy (401, 403)."""


class DeviceError(PortError):
    """A fence device did not do what it was asked.

    ``sent_at`` (CLOCK_BOOTTIME) is set when an *order* had been handed to the network before the failure: it may
    still take effect, up to :attr:`PowerDevice.order_lasts` seconds later.
    """

    def __init__(self, sentence: str, *, sent_at: float | None = None) -> None:
        super().__init__(sentence)
        self.sent_at = sent_at


class DeviceUnreachable(DeviceError):
    """No connection, no answer in time, or an answer that can't be read."""


class DeviceRefused(DeviceError):
    """The device answered and refused."""


class DeviceUnauthorized(DeviceError):
    """The device does not accept the credentials."""


class DeviceMisconfigured(DeviceError):
    """What the FenceDevice declares can't be right: TLS trust, address, system, parameters, Secret's keys.

    ``reason`` is the condition's reason, in one word.
    """

    def __init__(self, sentence: str, *, sent_at: float | None = None, reason: str = "Misconfigured") -> None:
        super().__init__(sentence, sent_at=sent_at)
        self.reason = reason


# --- time --------------------------------------------------------------------------------------------------------


class Clock(Protocol):
    """The shells' one clock; decisions get its readings as ``now``."""

    def monotonic(self) -> float:
        """Seconds of CLOCK_BOOTTIME: goes on while the machine sleeps, never jumps with the wall clock."""

    def wall(self) -> float:
        """Seconds since the epoch, for people and for other machines' eyes; never for a duration."""


class SystemClock:
    """The real clock."""

    def monotonic(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def wall(self) -> float:
        return time.time()


# --- the cluster -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kind:
    """How a kind is addressed in the API; ``kube/kinds.py`` has the table."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """One object, named as an Event names it."""

    kind: Kind
    name: str
    namespace: str = ""
    uid: str = ""


@dataclass(frozen=True, slots=True)
class Taint:
    """One taint of a node; a node has at most one for each (key, effect)."""

    key: str
    effect: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """A Lease as election and evidence need it. Times are the writer's wall clock, as it wrote them."""

    namespace: str
    name: str
    holder: str = ""
    duration_seconds: int = 0
    acquire_time: str = ""
    renew_time: str = ""
    transitions: int = 0
    uid: str = ""
    resource_version: str = ""
    """Changes with every write: *our* clock at the moment we saw it change is what counts as evidence."""
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class SecretRecord:
    """A Secret's decoded data at one version; the data is in no representation."""

    data: Mapping[str, bytes] = field(repr=False)
    resource_version: str = ""


class Cluster(Protocol):
    """Reads and writes through the API server. Every read is consistent (never from a server's cache).

    All methods raise :class:`ClusterError`; writes raise :class:`TooLate` too.
    """

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Json:
        """The object; NotFound."""

    async def list(
        self, kind: Kind, namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> tuple[Json, ...]:
        """All objects of the kind, of one namespace or of all."""

    async def create(
        self,
        kind: Kind,
        obj: Json,
        *,
        deadline: float | None = None,
        dry_run: bool = False,
        timeout: float | None = None,
    ) -> Json:
        """Create it in the namespace of its metadata; AlreadyExists.

        ``dry_run`` goes through admission and stores nothing; ``timeout`` (seconds) overrides the usual one.
        """

    async def replace_status(self, kind: Kind, obj: Json, *, deadline: float | None = None) -> Json:
        """PUT the status of exactly the version in ``metadata.resourceVersion``; Conflict."""

    async def patch_status(
        self,
        kind: Kind,
        name: str,
        namespace: str,
        status: Json,
        *,
        deadline: float | None = None,
        dry_run: bool = False,
        timeout: float | None = None,
    ) -> Json:
        """Merge-patch the status, whatever version stands there. Lists are replaced whole."""

    async def patch(
        self,
        kind: Kind,
        name: str,
        namespace: str,
        changes: Json,
        *,
        deadline: float | None = None,
        dry_run: bool = False,
        timeout: float | None = None,
    ) -> Json:
        """Merge-patch the object (labels, annotations, spec); Conflict if changes carry a resourceVersion."""

    async def delete_pod(
        self,
        namespace: str,
        name: str,
        uid: str,
        grace_seconds: int | None,
        *,
        deadline: float | None = None,
    ) -> bool:
        """Delete the pod of that UID; ``grace_seconds`` 0 is the force-delete, None the pod's own.

        False: no pod of that name and UID is there (any more).
        """

    async def delete_vmi(self, namespace: str, name: str, uid: str, *, deadline: float | None = None) -> bool:
        """Ask for the deletion of the VMI of that UID. False: it isn't there (any more)."""

    async def delete(
        self, kind: Kind, name: str, uid: str, namespace: str = "", *, deadline: float | None = None
    ) -> bool:
        """Ask for the deletion of the object of that UID. False: it isn't there (any more)."""

    async def add_taint(
        self, node: str, uid: str, taint: Taint, *, over: bool = True, deadline: float | None = None
    ) -> bool:
        """Put the taint on the node of that UID; True if that changed anything. NotFound: another node.

        ``over`` False: one of the same key and effect with another value is somebody else's, and stays.
        """

    async def remove_taint(
        self,
        node: str,
        uid: str,
        key: str,
        effect: str,
        *,
        value: str | None = None,
        deadline: float | None = None,
    ) -> bool:
        """Take the taint (key, effect) off the node of that UID; True if that changed anything. NotFound.

        ``value``: only if it is that.
        """

    async def lift_tolerations(
        self, namespace: str, pod: str, uid: str, *, deadline: float | None = None
    ) -> bool:
        """Let the running pod tolerate ``not-ready`` and ``unreachable`` without end; True if that changed it.

        NotFound: no pod of that name and UID.
        """

    async def request_start(
        self, namespace: str, vm: str, uid: str, stop_uid: str | None = None, *, deadline: float | None = None
    ) -> bool:
        """Ask KubeVirt to start the VM, after stopping the (failed) VMI ``stop_uid`` where one is named.

        False: just that is requested already. Conflict: another request, perhaps a user's stop, is pending.
        NotFound: no VM of that name and UID.
        """

    async def record_event(self, regarding: ObjectRef, type_: str, reason: str, message: str) -> None:
        """Record an Event (``Normal`` or ``Warning``), one try. Never raises ClusterError: an Event is a courtesy."""

    async def read_secret(self, name: str) -> dict[str, bytes]:
        """The decoded data of a Secret in the release's namespace; NotFound."""

    async def create_secret(
        self, name: str, data: Mapping[str, bytes], *, immutable: bool = True, deadline: float | None = None
    ) -> None:
        """Create an Opaque Secret in the release's namespace; AlreadyExists."""

    async def get_secret(self, name: str) -> SecretRecord:
        """A Secret of the release's namespace with its version; NotFound."""

    async def replace_secret(
        self, name: str, secret: SecretRecord, *, deadline: float | None = None
    ) -> SecretRecord:
        """Put this data over exactly the version in the record; Conflict, NotFound. Returns it as stored."""

    async def apply_configmap(
        self, name: str, data: Mapping[str, str], *, deadline: float | None = None
    ) -> bool:
        """Make the ConfigMap of the release's namespace carry exactly this data; True if that changed it."""

    async def get_lease(self, name: str, namespace: str = "") -> LeaseRecord | None:
        """The Lease (of the release's namespace by default), or None."""

    async def create_lease(self, lease: LeaseRecord, *, deadline: float | None = None) -> LeaseRecord:
        """Create it; AlreadyExists. Returns it as stored."""

    async def replace_lease(self, lease: LeaseRecord, *, deadline: float | None = None) -> LeaseRecord:
        """Write it over exactly the version in ``resource_version``; Conflict. Returns it as stored."""

    async def delete_lease(self, lease: LeaseRecord, *, deadline: float | None = None) -> bool:
        """Delete exactly this version; Conflict. False: it isn't there (any more)."""


# --- the heartbeat volume ---------------------------------------------------------------------------------------------


class Scribe(Protocol):
    """Has words written beside the slots of the heartbeat volume."""

    async def tell(
        self,
        boot: Boot,
        incident: str,
        *,
        stop_guests: bool = False,
        taken_back: bool = False,
        deadline: float | None = None,
    ) -> None:
        """Tell this boot that it is fenced (or no more). That it was written is seen elsewhere. Raises TooLate."""


# --- fence devices -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DeviceSpec:
    """How one node is reached through one FenceDevice."""

    name: str
    """The FenceDevice's name, for sentences."""
    driver: str
    """``redfish``, ``ipmi``, ``agent`` or ``storage``."""
    address: str
    """``https://host[:port]`` for redfish, ``host[:port]`` for ipmi; an agent has its address among its parameters; a
    storage has none."""
    system_id: str = ""
    """redfish: a system's Id or its path; empty: the only one, or the one with ``expected_uuid``."""
    expected_uuid: str = ""
    """The node's ``nodeInfo.systemUUID``; picks among several systems, is *not* checked here against one."""
    ca_bundle: str = ""
    """redfish: PEM, or base64 of PEM; empty: the machine's own trust."""
    insecure_skip_verify: bool = False
    timeout_seconds: float = 5.0
    """Of one HTTP request, connecting included, or of one run of a program."""
    cipher_suite: int = 17
    """ipmi: of RMCP+."""
    privilege: str = "OPERATOR"
    """ipmi: the level that is asked for."""
    program: str = ""
    """agent: its name, ``fence_...``."""
    parameters: tuple[tuple[str, str], ...] = ()
    """agent: what it gets on stdin for this node, by name; secrets come apart. storage: what the CSI driver wants besides."""
    node: str = ""
    """storage: the node's name."""
    cidrs: tuple[str, ...] = ()
    """storage: the addresses from which the node reaches it."""
    csi_driver: str = ""
    """storage: the CSI driver's name."""
    fence_class: str = ""
    """storage: the NetworkFenceClass; empty: ``fence_secret``."""
    fence_secret: tuple[str, str] = ("", "")
    """storage: namespace and name of the CSI driver's Secret, which is named and never read."""


@dataclass(frozen=True, slots=True)
class DeviceIdentity:
    """What the device says it stands before; empty strings where it says nothing."""

    uuid: str
    serial: str


@dataclass(frozen=True, slots=True)
class PowerReading:
    """One look at the power; ``at`` is CLOCK_BOOTTIME *before* the request went out, so never too late."""

    state: PowerState
    at: float
    etag: str = ""


@dataclass(frozen=True, slots=True)
class OrderReceipt:
    """The device took the order. It proves nothing: only a later reading does."""

    action: str
    sent_at: float
    answered_at: float
    effective_until: float
    """Until then (CLOCK_BOOTTIME) the order may still take effect."""
    already: bool = False
    """The device refused because the power was as ordered."""


class PowerDevice(Protocol):
    """One node's power, through one fence device. Methods raise :class:`DeviceError`; orders TooLate too."""

    @property
    def order_lasts(self) -> float:
        """Seconds after its sending for which an order may still take effect; store that *before* you order."""

    async def open(self) -> None:
        """Connect, log in, find the system."""

    async def identity(self) -> DeviceIdentity:
        """Read afresh who this device is."""

    async def power(self) -> PowerReading:
        """Read afresh the power."""

    async def order_off(self, *, deadline: float | None = None) -> OrderReceipt:
        """Cut the power at once. Sent even where the last reading was off: a reading may be stale."""

    async def order_on(self, *, deadline: float | None = None) -> OrderReceipt:
        """Switch the power on."""

    async def close(self) -> None:
        """Log out and hang up; never raises, may be called twice."""
