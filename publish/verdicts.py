"""The page of verdicts, made from the rule table: ``python -m publish.verdicts > docs/every-verdict.md``."""

from __future__ import annotations

import sys

from ringfence.core.detection import table
from ringfence.core.model import RingState

MADE = "<!-- Made by `python -m publish.verdicts`; edit operator/ringfence/core/detection/table.py, not this. -->"
_RING = {
    RingState.UNREACHABLE: "The ring calls it unreachable",
    RingState.DOUBTED: "The ring doubts it",
    RingState.PARTIAL: "Some reach it, some don't",
    RingState.LEFT: "Its agent has left",
    RingState.AGENT_DOWN: "Its kernel answers, its agent doesn't",
    RingState.ALIVE: "The ring hears it",
    RingState.UNKNOWN: "The ring has nothing to say",
}


def page() -> str:
    """The whole page."""
    lines = [
        MADE,
        "# Every verdict and why",
        "",
        "The controller makes one verdict of all that is known of a node: the votes of its peers, their answers from its kernel, the Leases of",
        "its kubelet and its agent, virt-handler's heartbeat, its storage slot, its `Ready` condition. The rules are tried from the",
        "top, and the first that holds gives the verdict and its sentence; `ringfence explain NODE` shows it. `…` stands for what is",
        "another each time.",
        "",
        "Whatever the combination:",
        "",
        "- no single agent makes anybody `Down`. Beside the only vote of a cluster of two the controller's own probe, a silent Lease and a",
        "  proved fence device are asked for;",
        "- no silence of peers does, without silence of the kernel: a vote counts only if neither answered its voter;",
        "- any newer sign of life vetoes it;",
        "- no `Ready` condition does. `False`, `Unknown`, missing and stale are four different things, and none of them a death.",
        "",
        "A test judges all combinations of evidence and holds each to one verdict and one row of this page.",
    ]
    for state, title in _RING.items():
        lines += [
            "",
            f"## {title}",
            "",
            "| verdict | what it says | when | what follows |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| `{one.verdict}` | {'<br>'.join(one.says)} | {one.when} | {one.then} |"
            for one in table.REASONS
            if one.ring is state
        ]
    lines += ["", "## Verdicts that are not given today", ""]
    lines += [f"- `{verdict}`: {why}." for verdict, why in table.NOT_GIVEN.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
