"""The agent's process says of itself what the kernel says of it."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sys
import urllib.request
from pathlib import Path

import pytest

from ringfence.agent.__main__ import options
from ringfence.host.privileges import NICE, OOM_SCORE
from ringfence.net.crypto import make_group_keys

ADDRESS = "127.0.78.1"
BOUND = 20.0


def free_port() -> int:
    with socket.create_server((ADDRESS, 0)) as listening:
        return int(listening.getsockname()[1])


async def test_what_it_is_permitted_stands_in_its_metrics(tmp_path: Path) -> None:
    for name, content in make_group_keys().items():
        (tmp_path / name).write_bytes(content)
    port = free_port()
    arguments = ["-m", "ringfence.agent", "--node-name", "n1", "--node-ip", ADDRESS, "--port", "0"]
    arguments += ["--keys-dir", str(tmp_path), "--state-dir", str(tmp_path), "--metrics-port", str(port)]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        async with asyncio.timeout(BOUND):
            while b"ICMP echo" not in (line := await process.stderr.readline()):
                assert line, "the agent has ended"

        def page() -> str:
            with urllib.request.urlopen(f"http://{ADDRESS}:{port}/metrics", timeout=BOUND) as answer:
                return str(answer.read().decode())

        shown = re.findall(
            r'^ringfence_agent_permitted\{what="(\w+)"\} ([01])', await asyncio.to_thread(page), re.MULTILINE
        )
        facts = Path(f"/proc/{process.pid}")
        locked = re.search(r"VmLck:\s+(\d+)", (facts / "status").read_text())
        assert locked is not None
        by = line.decode().strip().rpartition(" ")[2]
        assert {what: bool(int(may)) for what, may in shown} == {
            "mlock": int(locked[1]) > 0,
            "priority": os.getpriority(os.PRIO_PROCESS, process.pid) <= NICE,
            "oomScore": int((facts / "oom_score_adj").read_text()) <= OOM_SCORE,
            "icmpDatagram": by == "datagram",
            "icmpRaw": by == "raw",
        }
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.parametrize(
    ("legs", "says"),
    [
        ("Gossip,Pigeon", "name some of Gossip, Api and Storage"),
        ("Api,Storage", "Gossip must be among the legs"),
    ],
)
def test_wrong_legs_are_told_with_their_mend(
    legs: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        options(["--node-name=n1", "--node-ip=10.0.0.1", f"--legs={legs}"])
    assert says in capsys.readouterr().err


def test_the_legs_are_the_ring_and_the_api_server_unless_more_are_named() -> None:
    required = ["--node-name=n1", "--node-ip=10.0.0.1"]
    assert options(required).legs == {"Gossip", "Api"}
    assert options([*required, "--legs=Gossip,Storage"]).legs == {"Gossip", "Storage"}
