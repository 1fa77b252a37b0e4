"""The metrics and their page in the docs say the same."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from ringfence.core import gossip
from ringfence.core.failover.phase import Phase
from ringfence.core.model import Verdict, Vote
from ringfence.metrics import AgentMetrics, AgentSample, ControllerMetrics, PeerSample

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
SOURCES = [
    module.read_text(encoding="utf-8") for module in sorted(Path(gossip.__file__ or "").parent.glob("*.py"))
]
DROPS = [reason for text in SOURCES for reason in re.findall(r'WireError\("([^"{]+)"\)', text)]
DROPS += [reason for text in SOURCES for reason in re.findall(r'stats\["drop ([^"]+)"\]', text)]
Table = dict[str, frozenset[str]]


def exposed(text: bytes) -> Table:
    """Names as Prometheus stores them, with their labels."""
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        names = {label for sample in family.samples for label in sample.labels} - {"le"}
        found[family.name + ("_total" if family.type == "counter" else "")] = frozenset(names)
    return found


def documented(heading: str) -> Table:
    part = PAGE.read_text(encoding="utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|([^|]*)\|([^|]+)\|([^|]*)\|$", part, re.MULTILINE)
    assert len(rows) == part.count("\n| `") > 5, "a row of the table can't be read"
    assert all(meaning.strip() for _, _, meaning, _ in rows)
    return {name: frozenset(re.findall(r"`(\w+)`", labels)) for name, labels, *_ in rows}


def full_sample() -> AgentSample:
    counts = {f"vote {vote}": 1 for vote in Vote} | {f"drop {reason}": 1 for reason in DROPS}
    networks = tuple((f"network{number}", "answers") for number in range(4))
    peers = tuple(PeerSample(f"n{number}", "alive", 0.001, 0.0, networks) for number in range(8))
    return AgentSample(counts=counts, peers=peers, carrier=True)


def test_the_agents_table_is_what_an_agent_shows() -> None:
    metrics = AgentMetrics(full_sample, "0.1.0", {"mlock": True})
    assert exposed(metrics.render()) == documented("Of an agent")


def test_the_controllers_table_is_what_a_controller_shows() -> None:
    metrics = ControllerMetrics()
    metrics.verdict("n1", None, Verdict.HEALTHY)
    metrics.open_failovers({Phase.HELD: 1})
    metrics.step("proof", 3.0)
    metrics.slots({"moving": 3})
    metrics.devices({("bmc-n1", "n1"): 1000.0}, {("pdu", "n1"): 1000.0})
    assert exposed(metrics.render()) == documented("Of a controller")


def test_phases_are_counted_from_nought_and_shown_while_they_last() -> None:
    """A series that begins at 1 has not grown for Prometheus: the first incident would go unseen."""
    metrics = ControllerMetrics()
    assert 'ringfence_failovers_total{phase="AwaitingConfirmation"} 0.0' in metrics.render().decode()
    metrics.open_failovers({Phase.HELD: 2, Phase.CLOSED: 7})
    metrics.open_failovers({Phase.FENCING: 1})
    text = metrics.render().decode()
    assert 'ringfence_open_failovers{phase="Fencing"} 1.0' in text
    assert 'ringfence_open_failovers{phase="Held"} 0.0' in text
    assert 'ringfence_open_failovers{phase="Closed"}' not in text


def test_a_device_that_is_gone_takes_its_series_with_it() -> None:
    metrics = ControllerMetrics()
    metrics.devices({("bmc-n1", "n1"): 1000.0}, {})
    metrics.devices({("bmc-n2", "n2"): 0.0}, {})
    text = metrics.render().decode()
    assert 'ringfence_fence_device_proved_timestamp_seconds{device="bmc-n2",node="n2"} 0.0' in text
    assert "bmc-n1" not in text


def test_every_count_of_the_machine_is_shown() -> None:
    shown = exposed(AgentMetrics(AgentSample).render())
    places = [place for text in SOURCES for place in re.findall(r"stats\[([^\]]+)\]", text)]
    counted = [key for place in places for key in re.findall(r'(?<!f)"([^"]+)"', place)]
    missing = {
        key
        for key in counted
        if not key.startswith("drop ") and f"ringfence_agent_{key.replace(' ', '_')}_total" not in shown
    }
    assert len(counted) > 15
    assert missing == set()


def test_an_agent_has_two_hundred_series_at_most() -> None:
    """Peers are those that it observes; everything else is a word of the code."""
    assert len(DROPS) > 10
    permitted = dict.fromkeys(("mlock", "priority", "oomScore", "icmpDatagram", "icmpRaw"), True)
    text = AgentMetrics(full_sample, "0.1.0", permitted).render().decode()
    assert sum(not line.startswith("#") for line in text.splitlines()) < 200


def test_values_come_through() -> None:
    sample = AgentSample(
        counts={"surveys": 3, "vote none": 2},
        peers=(
            PeerSample("n2", "partial", 0.002, 0.25, (("storage", "dead"),)),
            PeerSample("n3", "unknown", None, None),
        ),
        worst_lag=0.3,
        members=5,
        read=True,
    )
    lines = AgentMetrics(lambda: sample, "0.1.0", {"mlock": False}).render().decode().splitlines()
    for line in (
        "ringfence_agent_surveys_total 3.0",
        'ringfence_agent_votes_total{vote="none"} 2.0',
        'ringfence_agent_loss_ratio{peer="n2"} 0.25',
        'ringfence_agent_peer_state{peer="n2",state="partial"} 1.0',
        'ringfence_agent_network_state{network="storage",peer="n2",state="dead"} 1.0',
        "ringfence_agent_worst_lag_seconds 0.3",
        "ringfence_agent_roster_members 5.0",
        "ringfence_agent_read 1.0",
        'ringfence_agent_permitted{what="mlock"} 0.0',
        'ringfence_agent_info{version="0.1.0"} 1.0',
    ):
        assert line in lines
    assert not any('rtt_seconds{peer="n3"' in line or 'loss_ratio{peer="n3"' in line for line in lines)


def test_a_node_that_is_gone_takes_its_series_with_it() -> None:
    metrics = ControllerMetrics()
    metrics.ring(7, 5, 4)
    metrics.verdict("n1", None, Verdict.HEALTHY)
    metrics.verdict("n1", Verdict.HEALTHY, Verdict.DOWN)
    text = metrics.render().decode()
    assert 'ringfence_node_verdict{node="n1",verdict="Down"} 1.0' in text
    assert 'node="n1",verdict="Healthy"' not in text
    assert "ringfence_roster_epoch 7.0" in text
    assert "ringfence_members_alive 4.0" in text
    metrics.node_gone("n1", Verdict.DOWN)
    assert "n1" not in metrics.render().decode()
