"""Guests of KubeVirt among a host's processes."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from ringfence.host.guests import Census, Guest, dying, guests, kill, names, sees_host, stop_guests

NAME = "guest=default_db,debug-threads=on"


def process(proc: Path, pid: int, *words: str, group: str = "0::/kubepods.slice/pod1") -> None:
    folder = proc / str(pid)
    folder.mkdir(parents=True)
    (folder / "cmdline").write_bytes("\0".join(words).encode() + b"\0")
    (folder / "cgroup").write_text(group)
    (folder / "comm").write_text(words[0].rpartition("/")[2][:15] + "\n")


def test_only_kubevirts_qemu_is_a_guest(tmp_path: Path) -> None:
    process(tmp_path, 10, "/usr/bin/qemu-system-x86_64", "-name", NAME)
    process(tmp_path, 11, "/usr/libexec/qemu-kvm", "-name", "guest=shop_web")
    process(tmp_path, 12, "/usr/bin/qemu-system-x86_64", "-name", "mine", group="0::/user.slice")
    process(tmp_path, 13, "/usr/bin/virt-launcher", "-name", NAME)
    process(
        tmp_path, 14, "qemu-system-x86_64", "-name", NAME, "-x", "/var/run/kubevirt-private/a", group="0::/"
    )
    process(tmp_path, 15, "qemu-system-x86_64", "-version")
    (tmp_path / "16").mkdir()
    (tmp_path / "self").mkdir()
    found = sorted(guests(tmp_path), key=lambda g: g.pid)
    assert found == [Guest(10, "default_db"), Guest(11, "shop_web"), Guest(14, "default_db")]


def test_no_proc_no_guests(tmp_path: Path) -> None:
    assert guests(tmp_path / "none") == ()
    assert not sees_host(tmp_path / "none")


def test_whether_the_host_is_seen(tmp_path: Path) -> None:
    process(tmp_path, 1, "/pause")
    assert not sees_host(tmp_path)
    assert sees_host()


def test_who_sees_no_host_reports_no_word_instead_of_no_guest(tmp_path: Path) -> None:
    """An empty list lifts a storage's fence: it has to be the truth."""
    process(tmp_path, 10, "/usr/bin/qemu-system-x86_64", "-name", NAME)
    process(tmp_path, 1, "/pause")
    assert names(tmp_path) is None
    process(tmp_path / "host", 1, "/sbin/init")
    assert names(tmp_path / "host") == []
    process(tmp_path / "host", 10, "/usr/bin/qemu-system-x86_64", "-name", NAME)
    assert names(tmp_path / "host") == ["default_db"]


def test_one_that_was_killed_and_whose_last_io_has_not_come_back_is_not_gone(tmp_path: Path) -> None:
    """It has no command line any more, and its threads still write: let at its storage again they would."""
    process(tmp_path, 1, "/sbin/init")
    process(tmp_path, 10, "/usr/libexec/qemu-kvm", "-name", NAME, group="0::/")
    (tmp_path / "10" / "cmdline").write_bytes(b"")
    assert guests(tmp_path) == ()
    assert dying(tmp_path) == 1
    assert names(tmp_path) is None
    (tmp_path / "10" / "comm").write_text("kworker/0:1\n")
    assert dying(tmp_path) == 0
    assert names(tmp_path) == []


def test_a_pods_own_first_process_is_no_host(tmp_path: Path) -> None:
    """Under a supervisor, as the agent runs beside a watchdog, it is neither this process nor the pod's pause."""
    process(tmp_path, 1, "python3", "-m", "ringfence.agent.supervise", "python3", "-m", "ringfence.agent")
    assert not sees_host(tmp_path)


def test_a_look_that_hangs_holds_nobody_up_and_is_one() -> None:
    """The agent renews its Lease in the same turn: that leg of its watchdog must not hang with a storage."""
    comes_back, begun = threading.Event(), []

    def ask() -> list[str]:
        begun.append(1)
        comes_back.wait(20)
        return ["shop_db"]

    census = Census(ask, patience=0.01)
    assert census.names() is None
    assert census.names() is None
    assert len(begun) == 1
    comes_back.set()
    (thread,) = (t for t in threading.enumerate() if t.name == "census")
    thread.join(20)
    assert Census(ask, patience=20.0).names() == ["shop_db"]


def test_a_guest_is_killed_and_whoever_has_its_number_later_is_not(tmp_path: Path) -> None:
    sleeper = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(sleeper, stdin=subprocess.PIPE) as child:
        process(tmp_path, child.pid, "/usr/bin/qemu-system-x86_64", "-name", NAME)
        assert kill(Guest(child.pid, "shop_other"), tmp_path)
        assert child.poll() is None
        assert kill(Guest(child.pid, "default_db"), tmp_path)
        assert child.wait(10) == -9
    assert kill(Guest(child.pid, "default_db"), tmp_path), "one that is gone is as good as killed"


def test_before_a_reset_every_program_of_that_name_is_ended_and_no_other(tmp_path: Path) -> None:
    sleeper = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with (
        subprocess.Popen(sleeper, stdin=subprocess.PIPE) as mine,
        subprocess.Popen(sleeper, stdin=subprocess.PIPE) as other,
    ):
        process(tmp_path, mine.pid, "/usr/bin/qemu-kvm", "-name", "mine", group="0::/user.slice")
        process(tmp_path, other.pid, "/usr/bin/virtqemud")
        assert stop_guests("qemu-", tmp_path) == (1, 0)
        assert mine.wait(10) == -9
        assert other.poll() is None
        other.kill()
    assert stop_guests("qemu-", tmp_path) == (0, 0), "one that is gone is neither told nor refused"
