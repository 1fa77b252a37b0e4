"""HAPolicies carried out: the ProtectedVMs that they call for are made, kept and deleted, and each policy says what became of it.

`core.policies` decides. A ProtectedVM is a policy's by its ownerReference, so it goes with its policy by garbage collection;
who takes the reference out of it makes it his own.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from ringfence.api.v1alpha1.failover import Failover
from ringfence.api.v1alpha1.hapolicy import HAPolicy, HAPolicySpec
from ringfence.api.v1alpha1.meta import API_VERSION
from ringfence.api.v1alpha1.protectedvm import ProtectedVM, ProtectionSettings
from ringfence.controller.narrator import Narrator
from ringfence.controller.refusals import unanswered
from ringfence.controller.world import World
from ringfence.core import timing
from ringfence.core.failover.phase import ENDED
from ringfence.core.policies import Act, Change, Create, Declared, Delete, Plan, Policy, Settings, Word, plan
from ringfence.kube import kinds
from ringfence.kube.objects import VmObject
from ringfence.kube.store import Key
from ringfence.ports import Clock, Cluster, ClusterError, Json, ObjectRef, Unavailable

logger = logging.getLogger(__name__)

MOST = 50
"""Objects that one round writes: the next comes a second later."""
LATER = "its ProtectedVMs are being written, some a second"
KIND = HAPolicy.names.kind


@dataclass(frozen=True, slots=True)
class _Refused:
    """A write that the API server has turned down. Its policy's condition says it: it is its namespace's business, no alert."""

    failures: int
    not_before: float
    sentence: str


class Policies:
    """Every replica's, and the leader's in force."""

    def __init__(
        self,
        cluster: Cluster,
        clock: Clock,
        world: World,
        narrator: Narrator,
        draw: Callable[[], float],
        deadline: Callable[[], float],
        busy: Callable[[], frozenset[str]],
    ) -> None:
        """``draw`` gives a random number from 0 to 1."""
        self._cluster = cluster
        self._clock = clock
        self._world = world
        self._narrator = narrator
        self._draw = draw
        self._deadline = deadline
        self._busy = busy
        self.words: dict[Key, Word] = {}
        """What is to be said of each policy, by namespace and name; of those that were looked at."""
        self._refused: dict[Key, _Refused] = {}
        """By the ProtectedVM's namespace and name."""
        self._left = 0
        """How many this round may write yet."""
        self._vms_in = world.vms.store.index(lambda vm: (vm.namespace,))
        self._spaces: dict[str, _Namespace] = {}
        """Those that have policies."""

    async def step(self) -> None:
        """Compare, and write at most :data:`MOST` of what differs. What was refused before is tried again with pauses."""
        own = self._world.own
        if not own.swept or not self._world.protected_vms.synced.is_set():
            return  # who doesn't know all ProtectedVMs would make them anew
        policies: dict[str, list[HAPolicy]] = defaultdict(list)
        for (namespace, _), one in sorted(own.all(HAPolicy).items()):
            if one.metadata.deletion_timestamp is None:
                policies[namespace].append(one)
        for namespace in self._spaces.keys() - policies.keys():
            del self._spaces[namespace]
        if not policies:
            self.words, self._refused = {}, {}
            return
        declared = own.work_out(ProtectedVM, _by_namespace)
        incident = self._in_incidents()
        words: dict[Key, Word] = {}
        wanted: set[Key] = set()
        self._left = MOST
        for namespace, here in policies.items():
            # Where nothing is to be written nothing else yields, and the leader's Lease is short.
            await asyncio.sleep(0)
            found = self._spaces.setdefault(namespace, _Namespace()).plan(
                here, self._vms_in.of(namespace), declared.get(namespace, {}), incident[namespace]
            )
            failed: dict[str, str] = {}
            missing: Counter[str] = Counter()
            for act in found.acts:
                wanted.add((namespace, _name(act)))
                trouble = await self._try(namespace, act)
                if trouble is None or isinstance(act, Delete):
                    continue
                missing[act.policy.name] += isinstance(act, Create)
                if failed.get(act.policy.name, LATER) is LATER:
                    failed[act.policy.name] = trouble
            for name, word in found.words.items():
                trouble = failed.get(name)
                reason = "Applying" if trouble is LATER else "NotWritten"
                words[namespace, name] = (
                    word if trouble is None else Word(False, reason, trouble, word.protects - missing[name])
                )
        self.words = words
        self._refused = {key: said for key, said in self._refused.items() if key in wanted}

    async def _try(self, namespace: str, act: Act) -> str | None:
        """Write it, if it may be written now. Why it is not, as a sentence; None: it is."""
        key, now = (namespace, _name(act)), self._clock.monotonic()
        before = self._refused.get(key)
        if self._left <= 0 or (before is not None and now < before.not_before):
            return before.sentence if before is not None else LATER
        self._left -= 1
        try:
            await self._write(namespace, act)
        except ClusterError as error:
            if unanswered(error):
                self._left = 0  # each of the others would wait for an answer as long
            failures = before.failures + 1 if before is not None else 1
            wish = error.retry_after if isinstance(error, Unavailable) else None
            others = len(self._refused) - (before is not None)
            pause = timing.write_pause(failures, wish, self._draw(), others + 1)
            sentence = f"ProtectedVM {_name(act)} was not written, it is tried again: {error}"
            if before is None or before.sentence != sentence:
                logger.warning("%s: %s", namespace, sentence)
            self._refused[key] = _Refused(failures, now + pause, sentence)
            return sentence
        if self._refused.pop(key, None) is not None:
            # Most often the others had the same reason.
            for other, refused in self._refused.items():
                if other[0] == namespace:
                    self._refused[other] = replace(refused, not_before=now)
        return None

    def _in_incidents(self) -> dict[str, set[str]]:
        """The VMs that an open failover is about, by namespace."""
        found: dict[str, set[str]] = defaultdict(set)
        for node in self._busy():
            for namespace, name in self._world.vmis_on(node):
                found[namespace].add(name)
        for failover in self._world.own.all(Failover).values():
            if failover.status.phase not in ENDED:
                for vm in failover.status.vms:
                    found[vm.namespace].add(vm.name)
        return found

    async def _write(self, namespace: str, act: Act) -> None:
        """Raises ClusterError, TooLate."""
        cluster, kind, own = self._cluster, kinds.PROTECTED_VM, self._world.own
        match act:
            case Create(policy, vm, settings):
                meta = {"name": vm, "namespace": namespace, "ownerReferences": [_owner(policy)]}
                spec = {"vm": {"name": vm}, **_spec(settings)}
                stored = await cluster.create(
                    kind, {"metadata": meta, "spec": spec}, deadline=self._deadline()
                )
                own.seen("protectedvms", stored)
                logger.info("%s/%s: protected by HAPolicy %s", namespace, vm, policy.name)
            case Change(policy, old, settings):
                changes: Json = {
                    "metadata": {"uid": old.uid, "ownerReferences": [_owner(policy)]},
                    "spec": _spec(settings),
                }
                stored = await cluster.patch(kind, old.name, namespace, changes, deadline=self._deadline())
                own.seen("protectedvms", stored)
                logger.info("%s/%s: as HAPolicy %s says again", namespace, old.name, policy.name)
            case Delete(old, why):
                await cluster.delete(kind, old.name, old.uid, namespace, deadline=self._deadline())
                raw = own.raw("protectedvms", (namespace, old.name))
                if raw is not None:
                    own.seen("protectedvms", raw, deleted=True)
                logger.info("%s/%s: deleted: %s", namespace, old.name, why)
                vm_object = self._world.vms.store.get((namespace, old.vm))
                if vm_object is not None:
                    ref = ObjectRef(kinds.VM, old.vm, namespace, vm_object.uid)
                    self._narrator.tell(
                        ref, "ProtectedVMDeleted", f"its ProtectedVM {old.name} is deleted: {why}"
                    )


@dataclass(frozen=True, slots=True)
class _Vm:
    """What policies go by of a VM."""

    name: str
    labels: Mapping[str, str]


Raw = TypeVar("Raw")
Seen = TypeVar("Seen")


class _Kept(Generic[Raw, Seen]):
    """What matters of each object, looked at once for as long as it is the same object."""

    def __init__(self, look: Callable[[Raw], Seen]) -> None:
        self._look = look
        self._known: dict[Key, tuple[Raw, Seen]] = {}

    def of(self, objects: Mapping[Key, Raw]) -> list[Seen]:
        """Of all of these, in their order."""
        before = self._known
        self._known = {
            key: known
            if (known := before.get(key)) is not None and known[0] is one
            else (one, self._look(one))
            for key, one in objects.items()
        }
        return [seen for _, seen in self._known.values()]


class _Namespace:
    """The last plan of a namespace, and what it was made of. Of many thousand VMs hardly one says something new in a second."""

    def __init__(self) -> None:
        self._vms = _Kept[VmObject, _Vm | None](lambda vm: None if vm.deleting else _Vm(vm.name, vm.labels))
        self._declared = _Kept(_declared)
        self._of: tuple[object, ...] = ()
        self._plan = Plan()

    def plan(
        self,
        policies: Sequence[HAPolicy],
        vms: Mapping[Key, VmObject],
        declared: Mapping[Key, ProtectedVM],
        incident: AbstractSet[str],
    ) -> Plan:
        """What is to be written now, and what is said of the policies."""
        there = [vm for vm in self._vms.of(vms) if vm is not None]
        made_of = (list(policies), there, self._declared.of(declared), frozenset(incident))
        if made_of != self._of:
            self._plan = plan(
                [_policy(one, there) for one in policies],
                {vm.name for vm in there},
                made_of[2],
                incident,
            )
            self._of = made_of
        return self._plan


def _by_namespace(declared: Mapping[Key, ProtectedVM]) -> Mapping[str, Mapping[Key, ProtectedVM]]:
    found: dict[str, dict[Key, ProtectedVM]] = defaultdict(dict)
    for key, pvm in declared.items():
        found[key[0]][key] = pvm
    return found


def _name(act: Act) -> str:
    """Of the ProtectedVM."""
    return act.vm if isinstance(act, Create) else act.old.name


def selected(spec: HAPolicySpec, labels: Mapping[str, str]) -> bool:
    """Whether the policy is about the VM of its namespace that has these labels."""
    return spec.all_vms or (spec.selector is not None and spec.selector.selects(labels))


def _policy(one: HAPolicy, vms: Iterable[_Vm]) -> Policy:
    names = frozenset(vm.name for vm in vms if selected(one.spec, vm.labels))
    return Policy(one.metadata.name, one.metadata.uid or "", names, _settings(one.spec.template))


def _declared(one: ProtectedVM) -> Declared:
    owners = [
        str(ref.get("uid"))
        for ref in one.metadata.owner_references or ()
        if ref.get("kind") == KIND and str(ref.get("apiVersion", "")).startswith("ringfence.io/")
    ]
    return Declared(
        one.metadata.name,
        one.metadata.uid or "",
        one.spec.vm.name,
        owners[0] if owners else None,
        _settings(one.spec),
    )


def _settings(said: ProtectionSettings) -> Settings:
    return Settings(said.on_node_failure, said.priority, tuple(one.name for one in said.depends_on))


def _spec(settings: Settings) -> Json:
    return {
        "onNodeFailure": settings.on_node_failure,
        "priority": settings.priority,
        "dependsOn": [{"name": name} for name in settings.depends_on],
    }


def _owner(policy: Policy) -> Json:
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": policy.name,
        "uid": policy.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }
