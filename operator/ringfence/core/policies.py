"""Which ProtectedVMs the HAPolicies of one namespace call for, and what stands in the way (DESIGN §2).

A person's word goes before a policy's, and two policies that want the same VM are a conflict on both, never a guess. Whatever
is given up waits for the end of an incident that the VM is part of: the incident goes by what was declared when it began.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

NAMED = 5
"""So many VMs are named in a sentence."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a ProtectedVM says of its VM."""

    on_node_failure: str
    priority: int
    depends_on: tuple[str, ...]

    def of(self, vm: str) -> Settings:
        """The same for this VM, which doesn't wait for itself."""
        others = tuple(name for name in self.depends_on if name != vm)
        return Settings(self.on_node_failure, self.priority, others)


@dataclass(frozen=True, slots=True)
class Policy:
    """One HAPolicy."""

    name: str
    uid: str
    selected: frozenset[str]
    """The VMs of its namespace that it selects, by name."""
    settings: Settings


@dataclass(frozen=True, slots=True)
class Declared:
    """One ProtectedVM."""

    name: str
    uid: str
    vm: str
    owner: str | None
    """The UID of the HAPolicy that owns it; None: a person's."""
    settings: Settings


@dataclass(frozen=True, slots=True)
class Create:
    """A ProtectedVM of the VM's own name is missing."""

    policy: Policy
    vm: str
    settings: Settings


@dataclass(frozen=True, slots=True)
class Change:
    """It says something else than its policy, or belongs to one that has given its VM up."""

    policy: Policy
    old: Declared
    settings: Settings


@dataclass(frozen=True, slots=True)
class Delete:
    """No policy wants it any more."""

    old: Declared
    why: str


Act = Create | Change | Delete


@dataclass(frozen=True, slots=True)
class Word:
    """What is said of a policy: the condition Ready, and how many VMs it protects."""

    ready: bool
    reason: str
    message: str
    protects: int


@dataclass(slots=True)
class Plan:
    """What is to be written in one namespace, and what is said of its policies, by name."""

    acts: list[Act] = field(default_factory=list)
    words: dict[str, Word] = field(default_factory=dict)


def plan(
    policies: Sequence[Policy],
    vms: AbstractSet[str],
    declared: Iterable[Declared],
    incident: AbstractSet[str],
) -> Plan:
    """Compare what is declared with what the policies want.

    Args:
        vms: the namespace's VMs by name, without those that are being deleted.
        declared: its ProtectedVMs.
        incident: VMs that an open failover is about.
    """
    by_uid = {policy.uid: policy for policy in policies}
    by_vm: dict[str, list[Declared]] = defaultdict(list)
    names: dict[str, Declared] = {}
    for one in sorted(declared, key=lambda one: one.name):
        by_vm[one.vm].append(one)
        names[one.name] = one
    found = Plan()
    about: dict[str, _About] = {policy.name: _About() for policy in policies}
    for vm in sorted(vms | by_vm.keys()):
        theirs = [one for one in by_vm[vm] if one.owner is None]
        # Whose policy is unknown goes with it (garbage collection), or is of one that we have not heard of yet.
        ours = [one for one in by_vm[vm] if one.owner in by_uid]
        strange = len(by_vm[vm]) > len(theirs) + len(ours)
        wanting = [policy for policy in policies if vm in vms and vm in policy.selected]
        for one in ours[1:] if not theirs else ours:
            if vm not in incident:
                found.acts.append(Delete(one, _why(one, theirs, wanting, vm in vms)))
        if theirs:
            for policy in wanting:
                about[policy.name].by_hand.append(vm)
            continue
        mine = ours[0] if ours else None
        if len(wanting) > 1:
            for policy in wanting:
                others = [other.name for other in wanting if other is not policy]
                about[policy.name].shared[vm] = others
            if mine is not None and mine.owner is not None:
                about[by_uid[mine.owner].name].protects += 1
        elif not wanting:
            if mine is not None and vm not in incident:
                found.acts.append(Delete(mine, _why(mine, theirs, wanting, vm in vms)))
        elif mine is not None:
            (policy,) = wanting
            about[policy.name].protects += 1
            settings = policy.settings.of(vm)
            if mine.owner != policy.uid or mine.settings != settings:
                found.acts.append(Change(policy, mine, settings))
        elif not strange:
            (policy,) = wanting
            if vm in names:
                about[policy.name].taken[vm] = names[vm].vm
            else:
                about[policy.name].protects += 1
                found.acts.append(Create(policy, vm, policy.settings.of(vm)))
    found.words = {policy.name: about[policy.name].word(policy) for policy in policies}
    return found


def _why(one: Declared, theirs: Sequence[Declared], wanting: Sequence[Policy], there: bool) -> str:
    if theirs:
        return f"ProtectedVM {theirs[0].name} protects {one.vm} by hand"
    if not there:
        return f"VM {one.vm} is gone"
    return "another one protects it" if wanting else f"no HAPolicy selects VM {one.vm} any more"


@dataclass(slots=True)
class _About:
    """What was found for one policy."""

    protects: int = 0
    by_hand: list[str] = field(default_factory=list)
    shared: dict[str, list[str]] = field(default_factory=dict)
    taken: dict[str, str] = field(default_factory=dict)

    def word(self, policy: Policy) -> Word:
        protects = f"protects {self.protects} {'VM' if self.protects == 1 else 'VMs'}"
        if self.by_hand:
            protects += f"; protected by hand, and left alone: {_named(self.by_hand)}"
        if self.shared:
            others = sorted({other for each in self.shared.values() for other in each})
            return Word(
                False,
                "Overlap",
                f"{_named(self.shared)} {'is' if len(self.shared) == 1 else 'are'} also selected by HAPolicy "
                f"{', '.join(others)}: narrow one of the selectors; as long as it is so neither policy changes anything there; {protects}",
                self.protects,
            )
        if self.taken:
            pairs = [f"{name} (of VM {vm})" for name, vm in self.taken.items()]
            return Word(
                False,
                "NameTaken",
                f"there are ProtectedVMs of other VMs by these names: {_named(pairs)}: rename or delete them; {protects}",
                self.protects,
            )
        if not policy.selected:
            return Word(
                False,
                "NothingSelected",
                "no VM of this namespace has these labels: correct spec.selector, or label the VMs (metadata.labels, not the template's)",
                0,
            )
        return Word(True, "Applied", protects, self.protects)


def _named(names: Iterable[str] | Mapping[str, object]) -> str:
    names = list(names)
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
