"""A16: a node dies in the middle of a live migration: as its source the VM restarts once, as its target it stays where it is."""

from __future__ import annotations

import pytest

from e2e.stories import came_back, guarded_vm
from lab.cluster import Lab
from lab.wait import until

pytestmark = [pytest.mark.lab, pytest.mark.more]


def migrate(lab: Lab, name: str) -> tuple[str, str]:
    """Begin to migrate the VM; its source and target, when the target's launcher is there and nothing is over yet."""
    lab.apply(
        {
            "apiVersion": "kubevirt.io/v1",
            "kind": "VirtualMachineInstanceMigration",
            "metadata": {"name": f"{name}-moves", "namespace": "default"},
            "spec": {"vmiName": name},
        }
    )

    def under_way() -> tuple[str, str] | None:
        vmi = lab.get("vmi", name, "default")
        here = vmi["status"]["nodeName"]
        targets = {
            pod["spec"].get("nodeName", "")
            for pod in lab.launchers(name)
            if "kubevirt.io/migrationJobUID" in pod["metadata"]["labels"]
        } - {"", here}
        return (here, targets.pop()) if targets else None

    return until(f"the migration of {name} to have a target", under_way, 60, every=0.02)


def test_the_source_dies(lab: Lab) -> None:
    victim = lab.quiet_node()
    instance = guarded_vm(lab, "db", victim)
    source, _target = migrate(lab, "db")
    assert source == victim
    lab.node(victim).power_off()
    came_back(lab, "db", victim, instance)
    lab.wait_phase(victim, "Closed", seconds=120)
    runs = [run.instance for run in lab.ticks("db")]
    assert len(runs) == 2, f"the guest was started {len(runs)} times"


def test_the_target_dies(lab: Lab) -> None:
    """It has a VM of its own, or nobody would fence it; where that goes, the migration's target goes too."""
    source = lab.quiet_node()
    instance = guarded_vm(lab, "db", source)
    others = [name for name in sorted(lab.nodes) if name != source]
    # One VM on each other node: whichever becomes the target has something to lose.
    watched = {node: guarded_vm(lab, f"web-{node}", node) for node in others}
    _source, target = migrate(lab, "db")
    lab.node(target).power_off()
    came_back(lab, f"web-{target}", target, watched[target])
    until(
        "the migration to have failed",
        lambda: lab.get("vmim", "db-moves", "default")["status"].get("phase") == "Failed",
        60,
        every=0.5,
    )
    lab.wait_phase(target, "Closed", seconds=120)
    vmi = lab.get("vmi", "db", "default")
    assert (vmi["status"]["phase"], vmi["status"]["nodeName"]) == ("Running", source)
    assert lab.ticks("db")[-1].instance == instance, "the VM was restarted, though only its target had died"
