"""What is said to whoever writes one of our objects, before it is stored: no, and why; or yes, but.

CRD schemas and CEL see one object by itself. Here it is seen beside the others, the cluster's nodes, Secrets and what fence
agents say of themselves; by the very checks that become its condition later, so that both say the same. Three rules:

- **A refusal is for what can't be meant**: a node in two zones, one outlet for two nodes, a parameter that the agent doesn't
  know. Whatever may only not be there *yet* (a Secret, a node, a StorageClass) is a warning: manifests come in any order.
- **What was wrong before may be written again**: else nobody could mend an object step by step. It is a warning then. So is
  one outlet for two nodes in a device that is there already: two BMCs that were exchanged are mended through just that.
- **Our own trouble never stands in anybody's way**: a replica that has just started, a check that takes too long, an API
  server that doesn't answer are a warning. The chart's ``failurePolicy: Ignore`` says the same for no answer at all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final, TypeVar

import pydantic

from ringfence.api.v1alpha1.fencedevice import FenceDevice
from ringfence.api.v1alpha1.hapolicy import HAPolicy
from ringfence.api.v1alpha1.hazone import HAZone
from ringfence.api.v1alpha1.protectedvm import ProtectedVM
from ringfence.controller.devices import OpenDevice, secret_words
from ringfence.controller.policies import selected
from ringfence.controller.targets import DeviceTarget
from ringfence.controller.world import OWN, World
from ringfence.controller.zones import claims, troubles
from ringfence.core.protection import Protection
from ringfence.kube import kinds
from ringfence.ports import (
    Clock,
    Cluster,
    ClusterError,
    DeviceError,
    DeviceMisconfigured,
    Json,
    NotFound,
)

logger = logging.getLogger(__name__)

PATIENCE: Final = 1.5
"""Seconds that all checks of one request may take; the API server waits for 2."""
KINDS: Final = ("hazones", "fencedevices", "protectedvms", "hapolicies")
_NOT_MEANT: Final = frozenset({"NodeInTwoZones", "AddressNotAllowed"})
_NOT_MEANT_ANEW: Final = _NOT_MEANT | {"OutletShared"}
_NOT_YET: Final = frozenset({"SecretNotFound", "SecretKeyNotFound", "SecretInvalid"})
_WHERE: Final = {
    "redfish": "spec.redfish.address",
    "ipmi": "spec.ipmi.address",
    "agent": "spec.agent.nodeParameters",
    "storage": "spec.storage.addresses",
}
_SECRET: Final = {
    "redfish": "spec.redfish.secretRef",
    "ipmi": "spec.ipmi.secretRef",
    "agent": "spec.agent.secretParameters",
}


Names = AbstractSet[tuple[str, str]]
Other = TypeVar("Other", HAZone, FenceDevice)


@dataclass(slots=True)
class Answer:
    """Sentences for whoever wrote the object; any refusal refuses it."""

    refusals: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def refuse(self, sentence: str) -> None:
        if sentence not in self.refusals:
            self.refusals.append(sentence)

    def warn(self, sentence: str) -> None:
        if sentence not in self.warnings:
            self.warnings.append(sentence)

    def beside(self, before: Answer) -> Answer:
        """This answer, where ``before`` is the one to the object as it stood: what was refused there is a warning."""
        kept = [one for one in self.refusals if one in before.refusals]
        return Answer([one for one in self.refusals if one not in kept], [*kept, *self.warnings])


class Admission:
    """Judges objects of our kinds by what this replica knows."""

    def __init__(
        self,
        cluster: Cluster,
        clock: Clock,
        world: World,
        opener: OpenDevice,
        protection: Callable[[ProtectedVM, str], tuple[Protection, str | None]],
        *,
        patience: float = PATIENCE,
    ) -> None:
        self._cluster = cluster
        self._clock = clock
        self._world = world
        self._open = opener
        self._protection = protection
        self._patience = patience

    async def answer(self, plural: str, new: Json, old: Json | None) -> Answer:
        """What to say to the object ``new``, which takes the place of ``old``. Never raises."""
        if not self._world.own.swept or not self._world.nodes.synced.is_set():
            return Answer(warnings=["not checked beyond its schema: ringfence has just started"])
        try:
            async with asyncio.timeout(self._patience):
                return await self._answer(plural, new, old)
        except ClusterError as error:
            return Answer(warnings=[f"not checked: {error}"])
        except TimeoutError:
            return Answer(warnings=["not checked to the end, there was no time: its conditions will tell"])
        except Exception:  # a bug of ours must not keep an administrator from mending his cluster
            logger.exception("%s %s was not checked", plural, new.get("metadata", {}).get("name"))
            return Answer(warnings=["not checked: ringfence failed at it, see the controller's log"])

    async def _answer(self, plural: str, new: Json, old: Json | None) -> Answer:
        not_meant = _NOT_MEANT_ANEW if old is None else _NOT_MEANT
        found = await self._look(plural, new, not_meant)
        if not found.refusals:
            return found
        # kopf may have missed that the other object is gone (STYLE, kopf): nobody is refused because of a ghost.
        there = set()
        for kind in (kinds.HA_ZONE, kinds.FENCE_DEVICE):
            there |= {(kind.kind, str(raw["metadata"]["name"])) for raw in await self._cluster.list(kind)}
        found = await self._look(plural, new, not_meant, there)
        # Only who is refused something needs to know how it stood before.
        return (
            found.beside(await self._look(plural, old, _NOT_MEANT, there))
            if found.refusals and old
            else found
        )

    async def _look(
        self, plural: str, raw: Json, not_meant: AbstractSet[str], there: Names | None = None
    ) -> Answer:
        """``there``: the zones and devices that really are (kind, name); None: those that this replica knows."""
        answer = Answer()
        try:
            read = OWN[plural].model_validate(raw)
        except pydantic.ValidationError as error:
            for one in error.errors():
                answer.refuse(f"{'.'.join(map(str, one['loc']))}: {one['msg']}")
            return answer
        match read:
            case HAZone():
                self._zone(read, there, answer)
            case FenceDevice():
                await self._device(read, not_meant, there, answer)
            case ProtectedVM():
                self._protected(read, raw["metadata"].get("namespace", ""), answer)
            case HAPolicy():
                self._policy(read, raw["metadata"].get("namespace", ""), answer)
        return answer

    def _zone(self, zone: HAZone, there: Names | None, answer: Answer) -> None:
        others = self._others(HAZone, zone.metadata.name, there)
        if not zone.spec.enabled:
            return  # nobody acts by it
        for trouble in troubles(self._world, zone, claims(self._world, [*others, zone])):
            tell = answer.refuse if trouble.reason in _NOT_MEANT else answer.warn
            tell(f"{trouble.field}: {trouble.sentence}")

    def _others(self, model: type[Other], name: str, there: Names | None) -> list[Other]:
        kind = model.names.kind
        known = self._world.own.all(model)
        return [one for (_, n), one in known.items() if n != name and (there is None or (kind, n) in there)]

    def _protected(self, declared: ProtectedVM, namespace: str, answer: Answer) -> None:
        if not all(one.synced.is_set() for one in self._world.reflectors):
            return
        found, _ = self._protection(declared, namespace)
        if not found.protected:
            answer.warn(f"not protected now ({found.reason}): {found.message}")

    def _policy(self, policy: HAPolicy, namespace: str, answer: Answer) -> None:
        if not self._world.vms.synced.is_set():
            return
        mine = [
            vm
            for vm in self._world.vms.store.values()
            if vm.namespace == namespace and selected(policy.spec, vm.labels)
        ]
        if not mine:
            answer.warn("spec.selector: no VM of this namespace has these labels now")
        for (space, name), other in sorted(self._world.own.all(HAPolicy).items()):
            both = [vm.name for vm in mine if selected(other.spec, vm.labels)]
            if space == namespace and name != policy.metadata.name and both:
                answer.warn(
                    f"spec.selector: HAPolicy {name} selects {', '.join(sorted(both)[:5])} too: where both do, neither "
                    "protects a VM anew"
                )

    async def _device(
        self, device: FenceDevice, not_meant: AbstractSet[str], there: Names | None, answer: Answer
    ) -> None:
        name = device.metadata.name
        others = self._others(FenceDevice, name, there)
        found = self._world.targets([*others, device])
        for node in device.spec.nodes:
            if ("", node) not in self._world.nodes.store:
                answer.warn(f"spec.nodes: the cluster has no node {node} now")
            if (target := found.get((name, node))) is not None:
                await self._target(target, not_meant, answer)
        if (storage := device.spec.storage) is not None:
            await self._classes(storage.storage_classes, storage.csi_driver, answer)

    async def _target(self, target: DeviceTarget, not_meant: AbstractSet[str], answer: Answer) -> None:
        driver = target.spec.driver
        if (objection := target.objection) is not None:
            tell = answer.refuse if objection.reason in not_meant else answer.warn
            tell(f"{_WHERE[driver]}: node {target.node}: {objection.sentence}")
        try:
            words = await secret_words(self._cluster, target)
        except (DeviceMisconfigured, ClusterError) as error:
            answer.warn(f"{_SECRET[driver]}: {error}")
            # With some word in each place the rest can be looked at all the same.
            words = {word.name: b"-" for word in target.secret}
        try:
            device = self._open(target.spec, words, self._clock)
            if driver in {"agent", "storage"}:  # these ask a program of the image, or the cluster; no device
                await device.open()
        except DeviceMisconfigured as error:
            tell = answer.warn if driver == "storage" or error.reason in _NOT_YET else answer.refuse
            tell(str(error))
        except (DeviceError, ClusterError) as error:
            answer.warn(str(error))

    async def _classes(self, named: Sequence[str], driver: str, answer: Answer) -> None:
        where = "spec.storage.storageClasses"
        for name in named:
            try:
                made_by = (await self._cluster.get(kinds.STORAGE_CLASS, name)).get("provisioner")
            except NotFound:
                answer.warn(f"{where}: there is no StorageClass {name}: correct the name, or create it")
            except ClusterError as error:
                answer.warn(f"{where}: {name} was not looked at: {error}")
            else:
                if made_by != driver:
                    answer.warn(
                        f"{where}: {name} is {made_by}'s, not {driver}'s: this fence does not cut its volumes"
                    )
