"""Grafana's board, made from code: ``python -m publish.board > charts/ringfence/files/board.json``.

Rows answer the questions of somebody who looks at it at night, in that order: does anything wait for me, would it work, is the ring
well, what does it cost. A panel has a title that is its question, queries, and the unit of the answer; everything else is the same for
all, so that a change of looks is one line here.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

COLUMNS = 24
"""Of Grafana's grid."""
SOURCE = {"type": "prometheus", "uid": "${source}"}
AGENTS = 'instance=~"$agent"'


@dataclass(frozen=True, slots=True)
class Query:
    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    title: str
    says: str
    """What to make of it."""
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    height: int = 7
    red_above: float | None = None
    """From here on it is something to act on."""
    red_below: float | None = None


def _one(title: str, says: str, expr: str, legend: str, **more: Any) -> Panel:
    return Panel(title, says, (Query(expr, legend),), **more)


def _stat(title: str, says: str, expr: str, **more: Any) -> Panel:
    return Panel(title, says, (Query(expr, ""),), kind="stat", width=4, height=4, **more)


ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    (
        "Does anything wait for me?",
        (
            _stat(
                "Replicas that lead",
                "One, always. None: a node that dies now is not fenced.",
                "sum(ringfence_leader) or vector(0)",
                red_below=1,
            ),
            _stat(
                "Waiting for a person",
                "Dead nodes that no device proved off: ringfence failovers.",
                'max(ringfence_open_failovers{phase="AwaitingConfirmation"}) or vector(0)',
                red_above=1,
            ),
            _stat(
                "Held by a limit",
                "Dead nodes on which a limit forbids to act.",
                'max(ringfence_open_failovers{phase="Held"}) or vector(0)',
                red_above=1,
            ),
            _stat(
                "VMs not protected",
                "Declared, and would not survive their node now: ringfence status.",
                "max((ringfence_declared_vms - ringfence_protected_vms) and ringfence_leader == 1) or vector(0)",
                red_above=1,
            ),
            _stat(
                "VMs protected",
                "Would run again if their node died now.",
                "max(ringfence_protected_vms and ringfence_leader == 1) or vector(0)",
            ),
            _stat(
                "Nodes not healthy",
                "Nodes whose verdict is anything but Healthy.",
                'count(max by (node, verdict) (ringfence_node_verdict{verdict!="Healthy"}) > 0) or vector(0)',
                red_above=1,
            ),
            _one(
                "Open failovers",
                "How many are in which phase. Recovering for minutes: see the Failover's sentence.",
                "max by (phase) (ringfence_open_failovers) > 0",
                "{{phase}}",
                width=12,
            ),
            _one(
                "Verdicts",
                "Nodes by their verdict, as the replica sees them that sees most.",
                "max by (verdict) (sum by (instance, verdict) (ringfence_node_verdict))",
                "{{verdict}}",
                width=12,
            ),
        ),
    ),
    (
        "Would it work?",
        (
            _one(
                "Since each device was proved",
                "Oldest proof of any replica. Above 15 minutes it would not fence now.",
                "time() - min by (device, node) (ringfence_fence_device_proved_timestamp_seconds > 0)",
                "{{device}} {{node}}",
                unit="s",
                red_above=900,
            ),
            _one(
                "Days since each drill",
                "A drill shows that the device cuts this very node.",
                "(time() - max by (device, node) (ringfence_fence_device_drilled_timestamp_seconds > 0)) / 86400",
                "{{device}} {{node}}",
                unit="d",
            ),
            _one(
                "Storage slots",
                "Nodes by what is seen of their slot; empty without a storage heartbeat.",
                "max by (state) (ringfence_slots)",
                "{{state}}",
            ),
            _one(
                "How long the steps of a failover take",
                "Median of a day, from the first doubt.",
                "histogram_quantile(0.5, sum by (le, step) (increase(ringfence_failover_step_seconds_bucket[1d])))",
                "{{step}}",
                unit="s",
                width=12,
            ),
            _one(
                "Failovers of a day",
                "That entered this phase.",
                "sum by (phase) (increase(ringfence_failovers_total[1d]))",
                "{{phase}}",
                width=12,
            ),
        ),
    ),
    (
        "Is the ring well?",
        (
            Panel(
                "Members",
                "Of the roster, heard by the followed agents, and followed.",
                (
                    Query("max(ringfence_roster_members)", "in the roster"),
                    Query("max(ringfence_members_alive)", "alive"),
                    Query("min(ringfence_agent_streams)", "followed (fewest)"),
                    Query("min(ringfence_slot_streams)", "heartbeats followed (fewest)"),
                ),
            ),
            _one(
                "Agents that abstain",
                "Below 1 for long: that node is starved or its network lossy.",
                f"avg_over_time(ringfence_agent_healthy{{{AGENTS}}}[5m]) < 1",
                "{{instance}}",
                unit="percentunit",
            ),
            Panel(
                "Cut off, unread, without Lease or link",
                "1 is bad for each of them.",
                (
                    Query(f"ringfence_agent_isolated{{{AGENTS}}} == 1", "{{instance}} isolated"),
                    Query(f"1 - ringfence_agent_lease_held{{{AGENTS}}} == 1", "{{instance}} has no Lease"),
                    Query(f"1 - ringfence_agent_carrier{{{AGENTS}}} == 1", "{{instance}} has no link"),
                ),
            ),
            _one(
                "Loss to peers",
                "Share of probes that were not answered in time. Above 5 % with the peer alive: that path is bad.",
                f"max by (peer) (ringfence_agent_loss_ratio{{{AGENTS}}}) > 0",
                "{{peer}}",
                unit="percentunit",
                red_above=0.05,
            ),
            _one(
                "Round trip to peers",
                "The slowest path to each.",
                f"max by (peer) (ringfence_agent_rtt_seconds{{{AGENTS}}})",
                "{{peer}}",
                unit="s",
            ),
            _one(
                "Peers in doubt",
                "As seen by how many of their observers.",
                f'count by (peer, state) (ringfence_agent_peer_state{{{AGENTS},state!="alive"}} == 1)',
                "{{peer}} {{state}}",
            ),
            _one(
                "Networks of peers that don't answer",
                "Further networks that a zone names.",
                f'count by (peer, network, state) (ringfence_agent_network_state{{{AGENTS},state=~"silent|dead"}} == 1)',
                "{{peer}} {{network}} {{state}}",
            ),
            _one(
                "Votes",
                "abstain grows: unwell when it matters.",
                f"sum by (vote) (rate(ringfence_agent_votes_total{{{AGENTS}}}[$__rate_interval]))",
                "{{vote}}",
            ),
            _one(
                "Datagrams refused",
                "bad seal, replayed, unknown sender: a stranger, or another key.",
                f"sum by (reason) (rate(ringfence_agent_drops_total{{{AGENTS}}}[$__rate_interval]))",
                "{{reason}}",
            ),
        ),
    ),
    (
        "What does it cost?",
        (
            Panel(
                "Datagrams of an agent",
                "Sent and accepted, the mean of the agents and the busiest one.",
                (
                    Query(
                        f"avg(rate(ringfence_agent_sent_total{{{AGENTS}}}[$__rate_interval]))", "sent, mean"
                    ),
                    Query(
                        f"max(rate(ringfence_agent_sent_total{{{AGENTS}}}[$__rate_interval]))", "sent, most"
                    ),
                    Query(
                        f"avg(rate(ringfence_agent_received_total{{{AGENTS}}}[$__rate_interval]))",
                        "accepted, mean",
                    ),
                ),
                unit="pps",
            ),
            _one(
                "Lag",
                "The most that a timer was late of late. Above 0.1 s that agent abstains.",
                f"max by (instance) (ringfence_agent_worst_lag_seconds{{{AGENTS}}})",
                "{{instance}}",
                unit="s",
                red_above=0.1,
            ),
            _one(
                "Stretch",
                "How many times longer than usual it waits for answers: its host is under pressure.",
                f"ringfence_agent_stretch{{{AGENTS}}} > 1",
                "{{instance}}",
            ),
            _one(
                "Releases",
                "Two for longer than a roll-out is one too many.",
                "count by (version) (ringfence_agent_info)",
                "{{version}}",
            ),
            _one(
                "Group keys in use",
                "More than one for long: a change of the key waits, ringfence keys names for whom.",
                'count(count_values("id", ringfence_agent_group_key))',
                "keys",
            ),
        ),
    ),
)


def board() -> dict[str, Any]:
    """The board as Grafana imports it."""
    return {
        "uid": "ringfence",
        "title": "ringfence",
        "tags": ["kubevirt", "ringfence"],
        "description": "High availability of KubeVirt VMs. Made by publish/board.py; each metric is told of in docs/metrics.md.",
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {
            "list": [
                {"name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus"},
                {
                    "name": "agent",
                    "type": "query",
                    "label": "Agent",
                    "datasource": SOURCE,
                    "query": "label_values(ringfence_agent_info, instance)",
                    "definition": "label_values(ringfence_agent_info, instance)",
                    "includeAll": True,
                    "allValue": ".*",
                    "multi": True,
                    "refresh": 2,
                    "current": {"text": "All", "value": "$__all"},
                },
            ]
        },
        "panels": list(_laid_out()),
    }


def _laid_out() -> Iterator[dict[str, Any]]:
    number, y = 0, 0
    for title, panels in ROWS:
        number += 1
        yield {
            "id": number, "type": "row", "title": title, "collapsed": False, "panels": [],
            "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
        }  # fmt: skip
        x, y, tallest = 0, y + 1, 0
        for panel in panels:
            number += 1
            if x + panel.width > COLUMNS:
                x, y, tallest = 0, y + tallest, 0
            yield _drawn(panel, number, x, y)
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest


def _drawn(panel: Panel, number: int, x: int, y: int) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.red_above is not None:
        steps.append({"color": "red", "value": panel.red_above})
    if panel.red_below is not None:
        steps = [{"color": "red", "value": None}, {"color": "green", "value": panel.red_below}]
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.says,
        "datasource": SOURCE,
        "gridPos": {"x": x, "y": y, "w": panel.width, "h": panel.height},
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps}},
            "overrides": [],
        },
        "options": {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True}}
        if panel.kind == "timeseries"
        else {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "background"},
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": SOURCE, "expr": q.expr, "legendFormat": q.legend}
            for index, q in enumerate(panel.queries)
        ],
    }


def text() -> str:
    return json.dumps(board(), indent=1) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
