"""``ringfence doctor``: what would stand in the way of a failover, looked for before one is needed.

A check looks at what the API server tells and yields findings; it changes nothing and asks no node. What the user may not read is a
finding too (`UNKNOWN`), so that silence never looks like health. Checks of one subject are a part; parts can be asked for by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ringfence.cli.doctor import fencing, installation, kubevirt, nodes, storage, tolerations, uninstall
from ringfence.cli.doctor.finding import Finding, Level
from ringfence.cli.doctor.look import Look
from ringfence.ports import Forbidden, NotFound

Check = Callable[[Look], Iterator[Finding]]

PARTS: dict[str, Sequence[Check]] = {
    "installation": installation.CHECKS,
    "nodes": nodes.CHECKS,
    "fencing": fencing.CHECKS,
    "kubevirt": kubevirt.CHECKS,
    "storage": storage.CHECKS,
    "tolerations": tolerations.CHECKS,
    "uninstall": uninstall.CHECKS,
}
ONLY_ON_REQUEST = frozenset({"uninstall"})
"""What is in order while ringfence is in use, and not when it goes."""

__all__ = ["ONLY_ON_REQUEST", "PARTS", "Finding", "Level", "Look", "examine"]


def examine(look: Look, parts: Sequence[str] = ()) -> list[Finding]:
    """Run the checks of these parts, else of all that are not only on request. Raises Unavailable."""
    wanted = parts or [part for part in PARTS if part not in ONLY_ON_REQUEST]
    return [finding for part in wanted for check in PARTS[part] for finding in _run(part, check, look)]


def _run(part: str, check: Check, look: Look) -> Iterator[Finding]:
    try:
        for finding in check(look):
            yield finding.of(part)
    except (Forbidden, NotFound) as error:
        subject = check.__name__.replace("_", " ").strip()
        yield Finding(Level.UNKNOWN, subject, f"not looked at: {error}", part)
