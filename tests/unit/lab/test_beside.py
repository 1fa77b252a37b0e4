"""Two runs of pytest at once, with real processes: small trees of tests on either side, that fail, hang and are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import beside
from lab.wait import until

pytestmark = pytest.mark.long
"""Root, for the control group."""

BOUND = 240.0
"""Seconds for anything here, on a machine with other work; nothing is judged by it."""

FRONT = "tests/stories/test_front.py"
BEHIND = "tests/sums/test_behind.py"
HANGS = """
import os, pathlib, signal, pytest
@pytest.fixture
def lab():
    yield
    pathlib.Path("{name}.down").write_text("")
def test_{name}_hangs(lab):
    pathlib.Path("{name}.pid").write_text(str(os.getpid()))
    signal.pause()
"""


class Tree:
    """A checkout with a few tests, and what `python -m beside` made of them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write(FRONT, "def test_front(): pass")
        self.write(BEHIND, "def test_behind(): pass")
        self.process: subprocess.Popen[str] | None = None

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def start(self, *words: str) -> subprocess.Popen[str]:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "beside", *(words or ("tests/sums", "--", "-v"))],
            cwd=self.root,
            env={**os.environ, "PYTHONPATH": str(Path(beside.__file__).parent)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return self.process

    def run(self, *words: str) -> tuple[int, str]:
        told, _ = self.start(*words).communicate(timeout=BOUND)
        assert self.process
        assert not self.group().exists()
        return self.process.returncode, told

    def group(self) -> Path:
        assert self.process
        return beside.HIERARCHY / f"{beside.NAME}{self.process.pid}"

    def wait_for(self, name: str) -> str:
        """What one of the tests has written."""
        file = self.root / name
        until(name, lambda: file.exists() and file.read_text(), BOUND)
        return file.read_text()


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    made = Tree(tmp_path)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.process.terminate()
        made.process.communicate(timeout=BOUND)


def test_every_test_runs_in_one_of_the_two(tree: Tree) -> None:
    code, told = tree.run()
    assert code == 0, told
    front, behind = told.split("this is what ran behind")
    assert f"{FRONT}::test_front PASSED" in front
    assert f"{BEHIND}::test_behind PASSED" in behind
    assert front.count(" PASSED") == behind.count(" PASSED") == 1
    assert front.count("= 1 passed in ") == behind.count("= 1 passed in ") == 1


@pytest.mark.parametrize("path", [FRONT, BEHIND])
def test_one_that_fails_on_either_side_fails_the_whole(tree: Tree, path: str) -> None:
    tree.write(path, "def test_sum(): assert 1 + 1 == 3")
    code, told = tree.run()
    assert code == 1, told
    assert f"FAILED {path}::test_sum" in told
    assert told.count("= 1 failed in ") == told.count("= 1 passed in ") == 1


def test_it_is_idle_as_long_as_the_others_run_and_no_longer(tree: Tree) -> None:
    place = (
        'next(l.split(":", 2)[2] for l in open("/proc/self/cgroup") if ":cpu:" in l or ":cpu," in l).strip()'
    )
    tree.write(
        BEHIND,
        f"""
import pathlib, time
def test_place():
    first = {place}
    pathlib.Path("there").write_text(first)
    while (now := {place}) == first:
        time.sleep(0.05)
    pathlib.Path("after").write_text(now)
""",
    )
    tree.write(
        FRONT,
        f"""
import pathlib, time
def test_place():
    pathlib.Path("front").write_text({place})
    while not pathlib.Path("go").exists():
        time.sleep(0.05)
""",
    )
    process = tree.start()
    assert tree.wait_for("there") == f"/{tree.group().name}"
    assert (tree.group() / "cpu.idle").read_text().strip() == "1"
    ours = tree.wait_for("front")
    assert ours != f"/{tree.group().name}"
    (tree.root / "go").write_text("")
    told, _ = process.communicate(timeout=BOUND)
    assert process.returncode == 0, told
    assert tree.wait_for("after") == ours
    assert not tree.group().exists()


def test_one_that_is_over_first_leaves_its_group_to_its_own_run(
    tree: Tree, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Another run at the same time, as this file's own are beside `make test`'s, once removed it as a left one."""
    tree.write(
        FRONT,
        """
import pathlib, time
def test_goes_on():
    pathlib.Path("front").write_text("runs")
    while not pathlib.Path("go").exists():
        time.sleep(0.05)
""",
    )
    process = tree.start()
    tree.wait_for("front")
    members = tree.group() / "cgroup.procs"
    until("the one behind to be over", lambda: not members.read_text(), BOUND)
    other = Tree(tmp_path_factory.mktemp("other"))
    code, told = other.run()
    assert code == 0, told
    assert tree.group().exists()
    (tree.root / "go").write_text("")
    told, _ = process.communicate(timeout=BOUND)
    assert process.returncode == 0, told
    assert not tree.group().exists()


def test_what_a_killed_run_left_is_removed(tree: Tree) -> None:
    over = subprocess.Popen(["true"])
    over.wait()
    left = beside.HIERARCHY / f"{beside.NAME}{over.pid}"
    left.mkdir()
    code, told = tree.run()
    assert code == 0, told
    assert not left.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_reaches_both_and_what_was_set_up_is_taken_down(
    tree: Tree, number: signal.Signals
) -> None:
    tree.write(FRONT, HANGS.format(name="front"))
    tree.write(BEHIND, HANGS.format(name="behind"))
    process = tree.start()
    pids = [int(tree.wait_for(f"{name}.pid")) for name in ("front", "behind")]
    process.send_signal(number)
    told, _ = process.communicate(timeout=BOUND)
    assert process.returncode == 2, told
    assert (tree.root / "front.down").exists()
    assert told.count("KeyboardInterrupt") >= 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert not tree.group().exists()


def test_one_behind_that_does_not_heed_the_interruption_is_killed(tree: Tree) -> None:
    tree.write(
        BEHIND,
        HANGS.format(name="behind").replace("    signal.pause", "    signal.signal(2, 1)\n    signal.pause"),
    )
    process = tree.start()
    pid = tree.wait_for("behind.pid")
    until("the one in front to be over", lambda: not tree.group().exists(), BOUND)
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=BOUND)
    assert process.returncode == 128 + signal.SIGKILL, told
    assert "what ran behind was ended by SIGKILL" in told
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize(("name", "path", "other"), [("behind", BEHIND, "front"), ("front", FRONT, "behind")])
def test_one_that_is_killed_fails_the_whole(tree: Tree, name: str, path: str, other: str) -> None:
    tree.write(path, HANGS.format(name=name))
    process = tree.start()
    os.kill(int(tree.wait_for(f"{name}.pid")), signal.SIGKILL)
    told, _ = process.communicate(timeout=BOUND)
    assert process.returncode == 128 + signal.SIGKILL, told
    assert f"test_{other} PASSED" in told
    assert f"{'behind' if name == 'behind' else 'in front'} was ended by SIGKILL" in told


def test_a_path_that_is_not_there_is_refused(tree: Tree) -> None:
    code, told = tree.run("tests/sum", "--")
    assert (code, told) == (2, "beside: tests/sum is not there\n")
