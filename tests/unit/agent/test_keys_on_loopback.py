"""Group keys change under agents on real sockets: nobody falls silent, a dead node is found, a removed key opens nothing."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from ringfence.core.gossip.corroboration import tally
from ringfence.core.gossip.keys import GroupKey, KeysError, KeySet
from ringfence.core.model import RingState
from ringfence.net.crypto import make_key, verify
from ringfence.net.key_folder import KeyFolder
from ringfence.net.stream import StreamClient, StreamError
from unit.agent.test_agents_on_loopback import (
    BOUND,
    GROUP,
    KEYS,
    Three,
    address,
    boot,
    count,
    first_view,
    subject,
)

OLD = GROUP.keys[0]
NEW = GroupKey(1, make_key())
BOTH, USED, DONE = KeySet((OLD, NEW), 0, 1), KeySet((OLD, NEW), 1, 1), KeySet((NEW,), 1, 1)


@pytest.fixture
async def three(request: pytest.FixtureRequest) -> AsyncIterator[Three]:
    agents = Three(kernels=getattr(request, "param", True))
    await agents.start()
    yield agents
    await agents.close()


async def all_alive_by(three: Three, keys: KeySet, number: int = 1) -> None:
    """A reader with these keys sees everybody alive, by answers that came after now."""
    answered = {n: count(agent, "answered") for n, agent in three.agents.items()}

    def since() -> bool:
        return all(agent.swim.stats["answered"] > answered[n] + 4 for n, agent in three.agents.items())

    port = three.agents[number].port
    async with asyncio.timeout(BOUND), aclosing(StreamClient(keys).views(address(number), port)) as views:
        async for view in views:
            if since() and view.alive == {"n1", "n2", "n3"}:
                return


async def refused(three: Three, keys: KeySet) -> bool:
    try:
        async with asyncio.timeout(BOUND):
            async for _ in StreamClient(keys).views(address(1), three.agents[1].port):
                return False
    except StreamError:
        return True
    return False


async def test_a_rotation_silences_nobody_in_whatever_order_the_agents_follow(three: Three) -> None:
    await first_view(three, lambda view: view.alive == {"n1", "n2", "n3"})
    states = [agent.swim.stats for agent in three.agents.values()]
    for keys, order in ((BOTH, (2, 1, 3)), (USED, (3, 1, 2)), (DONE, (1, 3, 2))):
        for number in order:
            three.agents[number].rekey(keys)
            await all_alive_by(three, keys if keys is not DONE else USED)
    await all_alive_by(three, DONE)
    assert [one["doubted"] for one in states] == [0, 0, 0]
    assert not any("unknown key" in reason for one in states for reason in one)
    assert await refused(three, GROUP)


@pytest.mark.parametrize("three", [False], indirect=True)
async def test_a_node_that_dies_between_two_steps_is_found_by_agents_of_both(three: Three) -> None:
    await first_view(three, lambda view: view.alive == {"n1", "n2", "n3"})
    for agent in three.agents.values():
        agent.rekey(BOTH)
    three.agents[1].rekey(USED)
    await three.agents.pop(3).close()
    port = three.agents[2].port
    async with asyncio.timeout(BOUND), aclosing(StreamClient(BOTH).views(address(2), port)) as views:
        async for view in views:
            found = subject(view, "n3")
            counted = tally(found.votes, three.roster, found.subject, verify)
            if found.state is RingState.UNREACHABLE and counted.unreachable:
                assert counted.sentence == "2 of 2 peers: n1, n2"
                return
    raise AssertionError("the stream ended")


async def test_a_removed_key_opens_nothing_and_what_was_begun_by_it_ends(three: Three) -> None:
    await first_view(three, lambda view: view.alive == {"n1", "n2", "n3"})
    begun = StreamClient(GROUP).views(address(1), three.agents[1].port)
    async with asyncio.timeout(BOUND), aclosing(begun):
        await anext(begun)
        for keys in (BOTH, USED, DONE):
            for agent in three.agents.values():
                agent.rekey(keys)
        with pytest.raises(StreamError, match="hung up"):
            async for _ in begun:
                pass
    assert await refused(three, GROUP)
    three.agents[2].rekey(
        GROUP
    )  # a thief of the old key, at the address of a member and with its signing key
    before = three.agents[1].swim.stats["drop unknown key"]
    await all_but_n2(three)
    assert three.agents[1].swim.stats["drop unknown key"] > before
    three.agents[2].rekey(DONE)
    await all_alive_by(three, DONE)


async def all_but_n2(three: Three) -> None:
    port = three.agents[1].port
    async with asyncio.timeout(BOUND), aclosing(StreamClient(DONE).views(address(1), port)) as views:
        async for view in views:
            if (
                subject(view, "n2").state is RingState.AGENT_DOWN
                and subject(view, "n3").state is RingState.ALIVE
            ):
                return


async def test_no_key_is_ever_logged(three: Three, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for keys in (BOTH, USED, DONE):
        three.agents[1].rekey(keys)
    assert "group keys 0, 1 are held, 1 is used (generation 1)" in caplog.text
    for key in (OLD, NEW):
        for shown in (key.secret.hex(), repr(key.secret), repr(key.secret)[2:-1]):
            assert shown not in caplog.text


# -- the mounted files


class Mount:
    """A mounted Secret as a kubelet keeps it: files are links through ``..data`` to a folder that is replaced whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._number = 0
        path.mkdir()

    def bring(self, files: dict[str, bytes]) -> None:
        self._number += 1
        folder = self.path / f"..{self._number}"
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
            if not (self.path / name).is_symlink():
                (self.path / name).symlink_to(f"..data/{name}")
        new = self.path / "..data_tmp"
        new.symlink_to(folder.name)
        new.replace(self.path / "..data")


def mounted(keys: KeySet) -> dict[str, bytes]:
    return {"group.key": OLD.secret, "group-keys.json": keys.text().encode()}


def test_the_folder_is_read_at_the_start_and_noticed_when_the_kubelet_replaces_it(tmp_path: Path) -> None:
    mount = Mount(tmp_path / "keys")
    mount.bring({"group.key": OLD.secret})
    folder = KeyFolder(mount.path)
    assert folder.read() == GROUP
    assert folder.changed() is None
    for keys in (BOTH, USED, DONE):
        mount.bring(mounted(keys))
        assert folder.changed() == keys
        assert folder.changed() is None
        assert KeyFolder(mount.path).read() == keys


def test_what_cannot_be_read_or_is_gone_leaves_the_agent_the_keys_of_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mount = Mount(tmp_path / "keys")
    mount.bring(mounted(BOTH))
    folder = KeyFolder(mount.path)
    folder.read()
    mount.bring({"group.key": OLD.secret, "group-keys.json": b"\xff\xfe"})
    assert folder.changed() is None
    assert "it is no text; mend the Secret ringfence-group-keys" in caplog.text
    assert folder.changed() is None
    assert caplog.text.count("kept") == 1, "said once"
    mount.bring({"group.key": OLD.secret})
    assert folder.changed() is None
    mount.bring(mounted(USED))
    assert folder.changed() == USED


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"group.key": b"short"}, "group.key has 5 bytes, not 32"),
        (
            {"group.key": OLD.secret, "group-keys.json": b"{}"},
            "keys must be a list of 1 to 4 keys; mend the Secret",
        ),
    ],
)
def test_an_agent_does_not_start_on_keys_that_are_none(
    tmp_path: Path, files: dict[str, bytes], sentence: str
) -> None:
    mount = Mount(tmp_path / "keys")
    mount.bring(files)
    with pytest.raises(KeysError, match=sentence):
        KeyFolder(mount.path).read()


async def test_the_process_follows_its_mounted_keys(three: Three, tmp_path: Path) -> None:
    port = three.agents[1].port
    await three.agents.pop(1).close()
    mount = Mount(tmp_path / "keys")
    mount.bring({name: KEYS[name] for name in ("group.key", "roster.pub")})
    (tmp_path / "roster.json").write_text(three.sealed(1).text(), encoding="ascii")
    key = {"bootID": boot(1), "seed": three.keys[1].seed.hex()}
    (tmp_path / "node-key.json").write_text(json.dumps(key), encoding="ascii")
    (tmp_path / "boot_id").write_text(boot(1), encoding="ascii")
    arguments = ["-m", "ringfence.agent", "--node-name", "n1", "--node-ip", address(1), "--port", str(port)]
    arguments += ["--keys-dir", str(mount.path), "--state-dir", str(tmp_path), "--metrics-port", "0"]
    arguments += ["--boot-id-path", str(tmp_path / "boot_id")]
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, env=environment, stderr=asyncio.subprocess.PIPE
    )
    log = process.stderr
    assert log is not None

    async def alive_to(keys: KeySet) -> None:
        async with asyncio.timeout(BOUND), aclosing(StreamClient(keys).views(address(2), port)) as views:
            async for view in views:
                if subject(view, "n1").state is RingState.ALIVE:
                    return

    try:
        await alive_to(GROUP)
        for keys in (BOTH, USED, DONE):
            mount.bring({**mounted(keys), "roster.pub": KEYS["roster.pub"]})
            async with asyncio.timeout(BOUND):
                while b"group keys" not in await log.readline():
                    pass
            for agent in three.agents.values():
                agent.rekey(keys)
            async with asyncio.timeout(BOUND), aclosing(StreamClient(keys).views(address(1), port)) as views:
                assert (await anext(views)).reporter.node == "n1"
            await alive_to(keys)
        assert process.returncode is None
    finally:
        process.terminate()
        await process.communicate()
