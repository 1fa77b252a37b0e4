"""B4: no BMC, an armed watchdog. Cut from everything the node resets itself; elsewhere strictly after the proven time."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest

from e2e.storage import FOLDER, heartbeat, slots
from e2e.stories import came_back, guarded_vm, wait_verdict, watch_quietly
from lab import processes
from lab.cluster import NAMESPACE, Lab
from lab.wait import until
from ringfence.agent.lifeline import boottime
from ringfence.agent.mailbox import RUN_DIRECTORY, Mailbox

pytestmark = pytest.mark.lab

ISOLATION, TIMEOUT, ASSUME = 5, 15, 26
AGENTS = "daemonset/ringfence-agent"
WATCHDOGS = {
    "agent.watchdog.enabled": "true",
    "agent.watchdog.isolationSeconds": str(ISOLATION),
    "agent.watchdog.timeoutSeconds": str(TIMEOUT),
}


@pytest.fixture
def dogs(bare: Lab) -> Iterator[Lab]:
    """The lab with nothing but watchdogs, each of them armed."""
    lab = bare
    lab.install_ringfence(WATCHDOGS)
    lab.kubectl("-n", NAMESPACE, "rollout", "status", AGENTS, "--timeout=180s")
    lab.declare_watchdogs(ISOLATION, TIMEOUT, ASSUME)
    for name in lab.nodes:
        lab.dog(name).mode("reset")
    try:
        lab.wait_armed()
        yield lab
    finally:
        for node in lab.nodes.values():
            node.thaw()
            node.power_on()
            node.heal()
        until("all nodes Ready", lab._all_ready, 120, every=0.5)
        lab.install_ringfence()
        lab.kubectl("-n", NAMESPACE, "rollout", "status", AGENTS, "--timeout=180s")
        lab.kennel.stop()


def pass_time(seconds: float) -> None:
    """What is tried here is that nothing happens for so long."""
    end = time.monotonic() + seconds
    until("the time to be over", lambda: time.monotonic() >= end, seconds + 10, every=0.5)


def agent_of(lab: Lab, node: str) -> list[int]:
    """The agent's own process, without its supervisor."""
    return sorted(
        set(lab.node(node).pids_with(b"ringfence.agent"))
        - set(lab.node(node).pids_with(b"ringfence.agent.supervise"))
    )


def leg_held(lab: Lab, node: str, since: float) -> bool:
    """Whether an agent has told its feeder of a leg that held at or after this (CLOCK_BOOTTIME)."""
    feeders = lab.node(node).pids_with(b"ringfence.agent.feeder")
    boot = lab.node(node).boot_id
    words = [Mailbox(Path(f"/proc/{pid}/root{RUN_DIRECTORY}"), boot).word() for pid in feeders]
    return any(word is not None and word.held_at >= since for word in words)


def bites(lab: Lab, node: str, since: float) -> list[float]:
    return [at for at in lab.dog(node).log("bite") if at >= since]


def test_a_node_cut_from_everything_is_counted_out(dogs: Lab) -> None:
    lab = dogs
    victim = lab.quiet_node()
    instance = guarded_vm(lab, "db", victim)
    assert "its watchdog" in lab.condition("protectedvm", "db", "Protected", "default")["message"]
    lab.dog(victim).mode("off")  # the reset leaves it off, so that no later boot is the proof
    cut_at = time.time()
    lab.node(victim).cut()
    failover = lab.wait_phase(victim, "Fencing", seconds=30)
    until(
        "the agent's Lease to be revoked",
        lambda: lab.get("lease", f"ringfence-agent-{victim}", NAMESPACE)["spec"]["holderIdentity"].startswith(
            "revoked/"
        ),
        20,
    )
    came_back(lab, "db", victim, instance)
    failover = lab.wait_phase(victim, "Recovered", seconds=60)
    (proof,) = failover["status"]["proofs"]
    assert (proof["kind"], proof["device"]) == ("SelfFenced", "watchdogs")
    assert failover["status"]["orders"][0]["action"] == "revoke"

    (bite,) = bites(lab, victim, cut_at)
    assert bite - cut_at <= ISOLATION + TIMEOUT + 2.0
    proved_at = moment(failover, "Recovering")
    assert proved_at - cut_at >= ASSUME
    assert proved_at > bite
    last = next(run for run in lab.ticks("db") if run.instance == instance).last.epoch
    print(
        f"cut -> last write {last - cut_at:.1f} s, bite {bite - cut_at:.1f} s, proof {proved_at - cut_at:.1f} s: margin {proved_at - last:.1f} s"
    )
    assert last < bite, "the guest goes before the node"
    assert last <= cut_at + ISOLATION + 3.0


@pytest.mark.more
def test_a_node_that_its_slot_feeds_lives_until_that_is_lost_too(dogs: Lab) -> None:
    """Cut from every network it runs on with its VM; nothing is assumed. Then its heartbeat stands still: the last leg is gone."""
    lab = dogs
    victim = lab.quiet_node()
    legs = ["Gossip", "Api", "Storage"]
    zone = {"fencing": {"watchdog": {"legs": legs}}, "storage": {"heartbeat": {"volume": FOLDER}}}
    lab.kubectl("patch", "hazone", "lab", "--type=merge", "-p", json.dumps({"spec": zone}))
    with heartbeat(lab, beside={**WATCHDOGS, "agent.watchdog.legs": f"{{{','.join(legs)}}}"}):
        until(
            "the report to name the slot",
            lambda: (lab.get("nodereport", victim) or {})["status"]["watchdog"]["legs"] == sorted(legs),
            60,
            every=0.5,
        )
        instance = guarded_vm(lab, "db", victim)
        lab.dog(victim).mode("off")
        cut_at = time.time()
        lab.node(victim).cut()
        pass_time(ISOLATION + TIMEOUT + 5)
        assert bites(lab, victim, cut_at) == []
        assert lab.ticks("db")[-1].instance == instance
        assert slots(lab)[victim] == "moving"
        assert all(not f["status"].get("proofs") for f in lab.failovers(victim))

        lost_at = time.time()
        (heart,) = lab.node(victim).pids_with(b"ringfence.slots")
        os.kill(heart, signal.SIGSTOP)
        came_back(lab, "db", victim, instance)
        failover = lab.wait_phase(victim, "Recovered", seconds=60)
        (proof,) = failover["status"]["proofs"]
        assert proof["kind"] == "SelfFenced"
        (bite,) = bites(lab, victim, cut_at)
        assert lost_at < bite <= lost_at + ISOLATION + TIMEOUT + 2.0
        assert moment(failover, "Recovering") - lost_at >= ASSUME
        assert next(run for run in lab.ticks("db") if run.instance == instance).last.epoch < bite
        lab.node(victim).power_on()
        lab.node(victim).heal()


@pytest.mark.more
def test_a_hung_node_is_bitten(dogs: Lab) -> None:
    """Its kernel answers, so nobody fences it; but nobody feeds its watchdog either. The new boot is the proof."""
    lab = dogs
    victim = lab.quiet_node()
    instance = guarded_vm(lab, "db", victim)
    boot = lab.node(victim).boot_id
    frozen_at = time.time()
    lab.node(victim).freeze()
    until("the watchdog to bite", lambda: bites(lab, victim, frozen_at), TIMEOUT + 5.0)
    until("a new boot", lambda: lab.node(victim).boot_id not in ("", boot), 60, every=0.3)
    lab.wait_tick("db", 180, other_than=instance)
    wait_verdict(lab, victim, "Healthy", 120)
    lab.wait_condition("fencedevice", "watchdogs", "Ready", "True", seconds=120)


def test_agents_that_stop_die_and_are_rolled_out_reset_nobody(dogs: Lab) -> None:
    lab = dogs
    victim = lab.quiet_node()
    instance = guarded_vm(lab, "db", victim)
    since = time.time()
    for _ in range(2):
        agents = until("an agent", lambda: agent_of(lab, victim), 30, every=0.5)
        processes.kill(agents)
        killed_at = boottime()
        watch_quietly(lab, 8, "db", victim, instance)
        # A node may be without its agent for as long as the watchdog allows, not for that long twice in a row.
        until("a leg to hold again", partial(leg_held, lab, victim, killed_at + 1), 30, every=0.2)
    agents = agent_of(lab, victim)
    for pid in agents:
        os.kill(pid, signal.SIGSTOP)
    watch_quietly(lab, TIMEOUT - 5, "db", victim, instance)
    for pid in agents:
        os.kill(pid, signal.SIGCONT)
    processes.kill(lab.node(victim).pids_with(b"ringfence.agent.feeder"))
    watch_quietly(lab, TIMEOUT + 3, "db", victim, instance)
    lab.wait_condition("fencedevice", "watchdogs", "Ready", "True", seconds=60)

    lab.kubectl("-n", NAMESPACE, "rollout", "restart", AGENTS)
    lab.kubectl("-n", NAMESPACE, "rollout", "status", AGENTS, "--timeout=180s")
    watch_quietly(lab, TIMEOUT + 3, "db", victim, instance)
    assert [bites(lab, name, since) for name in lab.nodes] == [[] for _ in lab.nodes]
    assert len([at for at in lab.dog(victim).log("stop") if at >= since]) >= 1, "an orderly end disarms"
    lab.wait_condition("fencedevice", "watchdogs", "Ready", "True", seconds=60)


@pytest.mark.more
def test_one_leg_is_enough(dogs: Lab) -> None:
    """Cut from the API server alone, then from its peers alone: the other leg feeds."""
    lab = dogs
    victim = lab.quiet_node()
    instance = guarded_vm(lab, "db", victim)
    since = time.time()
    for cut in (lab.node(victim).cut_api, lab.node(victim).cut_peers):
        cut()
        pass_time(ISOLATION + TIMEOUT + 5)
        lab.node(victim).heal_api()
        wait_verdict(lab, victim, "Healthy", 60)
    assert bites(lab, victim, since) == []
    assert lab.ticks("db")[-1].instance == instance


def moment(failover: dict[str, object], phase: str) -> float:
    """When (wall clock) the failover's story first says so."""
    status = failover["status"]
    assert isinstance(status, dict)
    at = next(line["at"] for line in status["history"] if line["phase"] == phase)
    return datetime.fromisoformat(str(at)).timestamp()
