"""The nodes as far as the API tells: their clocks, whether agents reach each other, what their hosts permit."""

from __future__ import annotations

from collections.abc import Iterator

from ringfence.cli.doctor.finding import Finding, broken, note, ok, warning
from ringfence.cli.doctor.look import Look, named
from ringfence.cli.document import Document
from ringfence.ports import NotFound

SKEW = 2.0
"""Seconds. The API server tells whole seconds, and a write takes its time: less can't be told from none."""
LOSSY = 5.0
"""Per cent of probes."""
FOLLOWED = 3
"""Agents that a controller follows."""
KUBELETS = "kube-node-lease"


def _clocks(look: Look) -> Iterator[Finding]:
    """A kubelet writes its own clock into its Lease, and the API server its own beside it (managedFields)."""
    wrong = []
    looked = 0
    for lease in look.leases(KUBELETS):
        skew = _skew(lease)
        if skew is None:
            continue
        looked += 1
        if abs(skew) > SKEW:
            wrong.append(lease.name)
            side = "ahead of" if skew > 0 else "behind"
            yield warning(
                lease.name,
                f"its clock is {abs(skew):.0f} s {side} the API server's: see its NTP. No verdict goes by wall"
                " clocks, but certificates do, and people who read logs",
            )
    if looked and not wrong:
        yield ok("clocks", f"the kubelets of {looked} nodes agree with the API server within {SKEW:g} s")


def _skew(lease: Document) -> float | None:
    """Seconds that its writer's clock is ahead of the API server's; None where they don't tell of the same write."""
    renewed = lease.time("spec", "renewTime")
    written = [at for field in lease.parts("metadata", "managedFields") if (at := field.time("time"))]
    if renewed is None or not written:
        return None
    # The API server's time is cut to the second.
    skew = (renewed - max(written)).total_seconds()
    return skew if skew < 0 else max(skew - 1.0, 0.0)


def _ring(look: Look) -> Iterator[Finding]:
    """Whether the ports are open: who answers whom, as the acting controller hears it."""
    try:
        ring = look.members()
    except NotFound as error:
        yield broken("ring", f"{error}: then nobody can tell whether agents reach each other")
        return
    followed, members = ring.texts("reporters"), ring.parts("members")
    if not members:
        yield broken("ring", "there is no roster yet: have the agents reported?")
        return
    if not followed:
        yield broken(
            "ring",
            "the acting controller hears no agent: open TCP 7947 of the nodes to it, or set controller.hostNetwork",
        )
        return
    if len(followed) < min(FOLLOWED, len(members)):
        yield warning(
            "ring",
            f"the acting controller hears only {named(followed)}: TCP 7947 of the other nodes may be shut",
        )
    bad = [finding for member in members for finding in _member(member)]
    yield from bad
    if not bad:
        yield ok("ring", f"{len(members)} members reach each other, as {named(followed)} tell")


def _member(member: Document) -> Iterator[Finding]:
    name = member.text("name")
    silent = [who for who, state in member.part("states").leaves() if state not in {"alive", "unknown", ""}]
    if silent:
        yield broken(
            name,
            f"{named(silent)} get no proper answer from it ({member.text('verdict') or 'no verdict'}):"
            " is its agent well, and UDP 7947 open between the nodes?",
        )
    loss = member.at("lossPercent")
    if not silent and isinstance(loss, int | float) and loss > LOSSY:
        yield warning(name, f"{loss:g} % of probes are not answered in time: that path is bad")
    if member.at("awareness", "isolated") is True:
        yield broken(name, "its agent holds itself for cut off")
    elif member.at("healthy") is False:
        yield warning(name, "its agent abstains: its node is starved, or its network lossy (members -o wide)")


def _networks(look: Look) -> Iterator[Finding]:
    """Further networks that a zone names and a node doesn't answer on."""
    try:
        members = look.members().parts("members")
    except NotFound:
        return  # said above
    for member in members:
        bad = [
            f"{network}: {member.text('networks', network, 'state')}"
            for network in sorted(member.part("networks").content)
            if member.text("networks", network, "state") in {"silent", "dead", "no address"}
        ]
        if bad:
            yield warning(
                member.text("name"), f"further networks of its zone that don't answer: {'; '.join(bad)}"
            )


def _permissions(look: Look) -> Iterator[Finding]:
    reports = look.own("nodereports")
    lacking: dict[str, list[str]] = {}
    for report in reports:
        may = report.part("status", "permitted").content
        for what in ("mlock", "priority"):
            if may.get(what) is False:
                lacking.setdefault(what, []).append(report.name)
        if may and not (may.get("icmpDatagram") or may.get("icmpRaw")):
            lacking.setdefault("icmp", []).append(report.name)
    mend = {
        "mlock": "not held in memory (IPC_LOCK in agent.capabilities): under memory pressure they answer late",
        "priority": "no turn of their own on a busy host (SYS_NICE in agent.capabilities)",
        "icmp": "can't ask a silent node's kernel by ICMP (NET_RAW in agent.capabilities): behind a firewall that"
        " swallows TCP a stopped agent looks like a dead node",
    }
    for what, hosts in lacking.items():
        yield note("agents", f"{named(hosts)}: {mend[what]}")


CHECKS = (_clocks, _ring, _networks, _permissions)
