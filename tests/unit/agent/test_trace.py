"""The trace of agents on real sockets: what one sent another received, and the way to a state can be read from it."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

from ringfence.agent.agent import Agent, Identity
from ringfence.agent.trace import TraceFile
from ringfence.core.gossip.keys import KeySet
from ringfence.core.gossip.members import Member, Roster, seal_roster
from ringfence.core.model import RingState
from ringfence.net.crypto import SigningKey, make_group_keys

KEYS = make_group_keys()
BOUND = 20.0


def address(number: int) -> str:
    return f"127.0.79.{number}"


def boot(number: int) -> str:
    return f"00000000-0000-4000-8000-00000000000{number}"


def agent_of(number: int, key: SigningKey, port: int, trace: TraceFile | None) -> Agent:
    return Agent(
        Identity(f"n{number}", address(number), boot(number)),
        KeySet.first(KEYS["group.key"]),
        key,
        roster_key=KEYS["roster.pub"],
        port=port,
        dice=random.Random(number),
        trace=trace,
    )


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


async def test_both_ends_tell_of_each_datagram_and_a_stopped_agents_end_is_told_step_by_step(
    tmp_path: Path,
) -> None:
    keys = [SigningKey.fresh() for _ in range(3)]
    members = tuple(
        Member(f"n{n}", f"uid-{n}", boot(n), (address(n),), "", key.public) for n, key in enumerate(keys, 1)
    )
    sealed = seal_roster(Roster(1, "test", b"salt", members), SigningKey(KEYS["roster.key"]).sign)
    agents: list[Agent] = []
    for number, key in enumerate(keys, 1):
        file = TraceFile(tmp_path / f"n{number}.trace") if number < 3 else None
        agents.append(agent_of(number, key, agents[0].port if agents else 0, file))
        await agents[-1].start()
        agents[-1].install(sealed)
    done = asyncio.Event()
    n1, n3 = agents[0], agents[2]
    assert n3.swim.trace is None, "off unless asked for"

    def state() -> RingState:
        return next(one for one in n1.swim.view(0.0).subjects if one.subject.node == "n3").state

    def look(_lonely: bool) -> None:
        done.set()

    n1.on_loneliness = look
    async with asyncio.timeout(BOUND):
        while state() is not RingState.ALIVE:
            await done.wait()
            done.clear()
        # Its process stands still: no leave, and no answer any more but its kernel's.
        n3._loop.remove_reader(n3._datagrams.socket)
        assert n3._timer is not None
        n3._timer.cancel()
        while state() is not RingState.AGENT_DOWN:
            await done.wait()
            done.clear()
    for agent in agents:
        await agent.close()

    first, second = lines(tmp_path / "n1.trace"), lines(tmp_path / "n2.trace")
    assert [line["at"] for line in first] == sorted(line["at"] for line in first)
    assert {line["node"] for line in first} == {"n1"}
    asked = {
        one["nonce"]
        for one in first
        if (one["what"], one.get("kind"), one.get("peer")) == ("sent", "ping", "n2")
    }
    came = {one["nonce"] for one in second if (one["what"], one.get("kind")) == ("received", "ping")}
    back = {one["nonce"] for one in first if (one["what"], one.get("kind")) == ("received", "ack")}
    assert asked & came & back

    about = [line for line in first if line.get("about") == "n3"]
    steps = [line["what"] for line in about]
    alive = next(i for i, line in enumerate(about) if line.get("new") == "alive")
    for step in ("examines", "asks kernel", "kernel answers", "closed"):
        assert step in steps[alive:]
    (found,) = [line for line in about if line.get("new") == "agent-down"]
    closed = next(
        line for line in about if line["what"] == "closed" and "agent-down" in line["votes"].values()
    )
    assert closed["at"] <= found["at"]
    votes = [line for line in first if line.get("kind") == "votes" and line["round"] == closed["round"]]
    assert {line["what"] for line in votes} == {"sent", "received"}
