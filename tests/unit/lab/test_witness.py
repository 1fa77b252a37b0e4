"""The witness must know a guest's QEMU from any other, and whose it is."""

from __future__ import annotations

from pathlib import Path

from lab.witness import Double, Qemu, Sightings, doubles, guest_of, look, node_of

LINE = b"/usr/bin/qemu-system-x86_64\0-name\0guest=default_demo,debug-threads=on\0-S\0"


def test_the_guest_stands_behind_its_name() -> None:
    assert guest_of(LINE) == "default_demo"
    assert guest_of(b"qemu-system-x86_64\0-machine\0none\0") == ""
    assert guest_of(b"qemu-system-x86_64\0-name") == ""


def test_the_node_is_the_control_group() -> None:
    text = "9:pids:/rf0-n2/kubepods/burstable/pod1/c\n8:freezer:/rf0-n2/kubepods\n"
    assert node_of(text, "rf0") == "n2"
    assert node_of(text, "rf1") == ""
    assert node_of("0::/\n", "rf0") == ""


def test_two_nodes_are_a_double_two_processes_on_one_are_not() -> None:
    one, again, elsewhere = Qemu("g", "n1", 1), Qemu("g", "n1", 2), Qemu("g", "n2", 3)
    assert doubles({one, again, Qemu("h", "n2", 4)}) == {}
    assert doubles({one, elsewhere}) == {"g": ("n1", "n2")}


def test_a_look_at_proc(tmp_path: Path) -> None:
    for pid, comm, group in (
        (10, "qemu-system-x86", "rf0-n1"),
        (11, "bash", "rf0-n1"),
        (12, "qemu-system-x86", "x"),
    ):
        folder = tmp_path / str(pid)
        folder.mkdir()
        (folder / "comm").write_text(comm + "\n")
        (folder / "cmdline").write_bytes(LINE)
        (folder / "cgroup").write_text(f"3:pids:/{group}/kubepods\n")
    (tmp_path / "self").mkdir()
    (tmp_path / "13").mkdir()
    assert look("rf0", tmp_path) == {Qemu("default_demo", "n1", 10)}


def test_a_double_is_a_sentence() -> None:
    assert (
        str(Double("g", ("n1", "n2"), 1.0, 3.5))
        == "guest g had a QEMU on n1 and n2 at once, for 2.5 s or more"
    )


def test_a_double_that_is_seen_again_after_a_look_without_it_is_another() -> None:
    one, two = Qemu("g", "n1", 1), Qemu("g", "n2", 2)
    sightings = Sightings(frozenset({"h"}))
    sightings.add({Qemu("h", "n1", 3), Qemu("h", "n2", 4)}, 0.0)
    for at in (1.0, 1.2):
        sightings.add({one, two}, at)
    sightings.add({one}, 1.4)
    sightings.add({one, Qemu("g", "n2", 5)}, 9.0)
    assert sightings.doubles == [Double("g", ("n1", "n2"), 1.0, 1.2), Double("g", ("n1", "n2"), 9.0, 9.0)]
