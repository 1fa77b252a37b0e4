"""The feeder's process before a watchdog whose timer runs outside of it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.wait import until
from lab.watchdog.build import shim
from ringfence.agent.mailbox import FeederState, Mailbox
from ringfence.core.fencing.selffence import Leg, Word

ISOLATION, TIMEOUT = 1.5, 3
PROJECT = Path(__file__).parents[3]
GUEST = "rfguest-"
"""What the guests' program is called here: a test must never stop the QEMUs of the machine."""


def now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Node:
    """A node with a watchdog, a feeder and, where a test plays it, an agent."""

    def __init__(
        self,
        folder: Path,
        library: Path,
        *,
        isolation: float = ISOLATION,
        timeout: int = TIMEOUT,
        guest: str = GUEST,
        bite: tuple[str, ...] = ("true",),
    ) -> None:
        """``guest``: how the names of the programs begin that its feeder kills; ``bite``: what its watchdog runs."""
        self.folder = folder
        self._settings = (
            f"--isolation-seconds={isolation}",
            f"--timeout-seconds={timeout}",
            f"--stop-guests={guest}",
        )
        self.boot = str(uuid.uuid4())
        (folder / "boot_id").write_text(self.boot + "\n")
        (folder / "nowayout").write_text("0\n")
        self.mailbox = Mailbox(folder / "run", self.boot)
        self.environment = {
            **os.environ,
            "PYTHONPATH": f"{PROJECT / 'operator'}:{PROJECT / 'tests'}",
            "LD_PRELOAD": str(library),
            "WATCHDOG_PATH": str(folder / "watchdog"),
            "WATCHDOG_SOCKET": str(folder / "dog.sock"),
        }
        self.processes: list[subprocess.Popen[bytes]] = []
        self._agent: threading.Thread | None = None
        self._stop = threading.Event()
        self.word: Callable[[], Word | None] = lambda: Word(
            now(), self.since, {Leg.GOSSIP: now()}, leave=True
        )
        self.since = now()
        self.start(
            "timer",
            sys.executable,
            "-m",
            "lab.watchdog.timer",
            str(folder / "dog.sock"),
            str(folder / "dog.log"),
            *bite,
        )

    def start(
        self, name: str, *command: str, environment: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        plain = {name: value for name, value in self.environment.items() if name != "LD_PRELOAD"}
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment or plain, start_new_session=True
            )
        self.processes.append(process)
        return process

    def feeder(
        self, settings: dict[str, str] | None = None, *, supervised: bool = False
    ) -> subprocess.Popen[bytes]:
        command = [
            sys.executable, "-m", "ringfence.agent.feeder", f"--device={self.folder / 'watchdog'}",
            f"--nowayout-path={self.folder / 'nowayout'}", f"--run-dir={self.folder / 'run'}",
            f"--boot-id-path={self.folder / 'boot_id'}", *self._settings,
        ]  # fmt: skip
        if supervised:
            command = [sys.executable, "-m", "ringfence.agent.supervise", "--realtime", *command]
        return self.start("feeder", *command, environment={**self.environment, **(settings or {})})

    def guest(self) -> subprocess.Popen[bytes]:
        program = self.folder / f"{GUEST}x86"
        shutil.copy("/bin/sleep", program)
        return self.start("guest", str(program), "600")

    def agent(self) -> None:
        """Speak ten times a second, as `word` says."""

        def speak() -> None:
            while not self._stop.wait(0.1):
                word = self.word()
                if word is not None:
                    self.mailbox.put_word(word)

        self._agent = threading.Thread(target=speak)
        self._agent.start()

    def silence(self) -> None:
        self.word = lambda: None

    def isolate(self) -> float:
        """No leg holds from here on, and the agent looks on; the instant."""
        at = now()
        self.word = lambda: Word(now(), self.since, {Leg.GOSSIP: at}, leave=True)
        return at

    def log(self, what: str) -> list[float]:
        """When (wall) the watchdog did that."""
        lines = (
            (self.folder / "dog.log").read_text().splitlines() if (self.folder / "dog.log").exists() else []
        )
        return [line["t"] for line in map(json.loads, lines) if line["what"] == what]

    def opened_since(self, times: int) -> Callable[[], bool]:
        return lambda: len(self.log("open")) > times

    def state(self) -> FeederState | None:
        return self.mailbox.state()

    def wait_state(self, armed: bool, why: str = "", seconds: float = 10) -> FeederState:
        def there() -> FeederState | None:
            state = self.state()
            return state if state is not None and state.armed is armed and why in state.why else None

        return until(
            f"the watchdog to be {'armed' if armed else 'not armed'} ({why})", there, seconds, every=0.02
        )

    def quiet_for(self, seconds: float) -> None:
        """For so long it must not bite."""
        end = time.monotonic() + seconds
        until(
            "the time to be over",
            lambda: time.monotonic() >= end or self.log("bite"),
            seconds + 5,
            every=0.05,
        )
        assert self.log("bite") == []

    def wait_bite(self, seconds: float) -> float:
        until("the watchdog to bite", lambda: self.log("bite"), seconds, every=0.02)
        return self.log("bite")[0]

    def close(self) -> None:
        self._stop.set()
        if self._agent is not None:
            self._agent.join()
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shim(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def node(tmp_path: Path, library: Path) -> Iterator[Node]:
    made = Node(tmp_path, library)
    try:
        until(
            "the timer to listen", (tmp_path / "dog.sock").exists, 10, every=0.02, log=tmp_path / "timer.log"
        )
        yield made
    finally:
        made.close()


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_it_arms_when_a_leg_holds_and_bites_after_isolation(node: Node) -> None:
    guest = node.guest()
    node.feeder()
    node.wait_state(armed=False, why="no leg")
    assert node.log("open") == []
    node.agent()
    state = node.wait_state(armed=True)
    assert (state.timeout, state.isolation, state.nowayout) == (TIMEOUT, ISOLATION, False)
    assert state.device == f"{node.folder / 'watchdog'} (lab timer)"
    node.quiet_for(TIMEOUT + 1.0)
    assert guest.poll() is None

    cut = node.isolate()
    began = time.time() - (now() - cut)
    until("the guest to be stopped", lambda: guest.poll() is not None, ISOLATION + 2.0, every=0.02)
    assert node.log("bite") == [], "the guests go first"
    bite = node.wait_bite(ISOLATION + TIMEOUT + 2.0)
    assert bite - began <= ISOLATION + TIMEOUT + 0.2
    assert bite - began >= TIMEOUT


@pytest.mark.long
def test_a_killed_feeder_is_back_before_the_bite(node: Node) -> None:
    node.agent()
    supervisor = node.feeder(supervised=True)
    node.wait_state(armed=True)
    for _ in range(2):
        opened = len(node.log("open"))
        (child,) = until("the feeder to run", lambda: children(supervisor.pid), 5, every=0.02)
        os.kill(child, signal.SIGKILL)
        until("the watchdog to be opened again", node.opened_since(opened), 10, every=0.02)
    assert node.log("stop") == []
    node.quiet_for(TIMEOUT + 0.5)


@pytest.mark.long
def test_a_feeder_that_stays_away_costs_the_node(node: Node) -> None:
    node.agent()
    feeder = node.feeder()
    node.wait_state(armed=True)
    feeder.kill()
    node.wait_bite(TIMEOUT + 1.0)


def test_an_agent_that_is_silent_and_comes_back_costs_nothing(node: Node) -> None:
    guest = node.guest()
    node.agent()
    node.feeder()
    node.wait_state(armed=True)
    speaks = node.word
    node.silence()
    node.wait_state(armed=True, why="the agent is silent")
    node.since, node.word = now(), speaks
    node.quiet_for(TIMEOUT + 0.5)
    assert guest.poll() is None


@pytest.mark.long
def test_a_stopped_feeder_is_noticed(node: Node) -> None:
    node.agent()
    feeder = node.feeder()
    node.wait_state(armed=True)
    feeder.send_signal(signal.SIGSTOP)
    node.wait_bite(TIMEOUT + 1.0)


def test_it_disarms_on_the_agents_word_and_on_nothing_else(node: Node) -> None:
    node.agent()
    feeder = node.feeder(supervised=True)
    node.wait_state(armed=True)
    feeder.send_signal(signal.SIGTERM)
    node.quiet_for(TIMEOUT + 0.5)
    assert feeder.poll() is None, "it feeds on until it may stop"
    node.word = lambda: Word(now(), node.since, {Leg.GOSSIP: now()}, leave=True, disarm=True)
    assert feeder.wait(5) == 0
    assert len(node.log("stop")) == 1
    assert node.state() == FeederState(
        False, "the agent has signed off", str(node.folder / "watchdog"), asked=TIMEOUT, isolation=ISOLATION
    )
    node.quiet_for(TIMEOUT + 0.5)


@pytest.mark.long
def test_a_successor_disarms_what_it_did_not_arm(node: Node) -> None:
    node.agent()
    first = node.feeder()
    node.wait_state(armed=True)
    first.kill()
    node.word = lambda: Word(now(), node.since, {}, leave=True, disarm=True)
    node.feeder()
    node.wait_state(armed=False, why="signed off")
    node.quiet_for(TIMEOUT + 0.5)


@pytest.mark.parametrize(
    ("driver", "why"),
    [
        (
            {"WATCHDOG_PATH": "/elsewhere"},
            "No such file or directory: the node has no watchdog; load its driver",
        ),
        (
            {"WATCHDOG_ROUNDS": "64"},
            "its driver takes 64 s, 3 s were asked for: raise agent.watchdog.timeoutSeconds",
        ),
        ({"WATCHDOG_NO_MAGIC": "1"}, "its driver stops at every close"),
    ],
    ids=["no device", "driver that rounds up", "driver without magic close"],
)
def test_a_watchdog_that_will_not_do_is_left_alone_and_told(
    node: Node, driver: dict[str, str], why: str
) -> None:
    node.agent()
    node.feeder(driver)
    node.wait_state(armed=False, why=why)
    until(
        "what was opened to be stopped again",
        lambda: len(node.log("open")) == len(node.log("stop")),
        10,
        every=0.02,
    )


def test_a_watchdog_that_somebody_else_feeds(node: Node) -> None:
    node.agent()
    node.feeder()
    node.wait_state(armed=True)
    other = Mailbox(node.folder / "other", node.boot)
    other.put_word(Word(now() + 5.0, node.since, {Leg.API: now() + 5.0}, leave=True))
    node.start(
        "second", sys.executable, "-m", "ringfence.agent.feeder", f"--device={node.folder / 'watchdog'}",
        "--isolation-seconds=30", "--timeout-seconds=60", f"--run-dir={node.folder / 'other'}",
        f"--boot-id-path={node.folder / 'boot_id'}", environment=node.environment,
    )  # fmt: skip
    until(
        "the second to be refused",
        lambda: "somebody else feeds it" in (s.why if (s := other.state()) else ""),
        10,
        every=0.02,
    )


def test_it_is_small(node: Node) -> None:
    node.agent()
    feeder = node.feeder()
    node.wait_state(armed=True)
    status = Path(f"/proc/{feeder.pid}/status").read_text()
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
    assert resident < 24_000, f"{resident} kB"
