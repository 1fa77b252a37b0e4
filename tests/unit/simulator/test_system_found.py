"""What random schedules of the whole system have found: each as its seed's shortest script."""

from __future__ import annotations

import pytest

from simulator.system.play import play
from simulator.system.schedule import read

FOUND = {
    # The BMC was ordered off while its node had no power, and the model let that node boot all the same when power was back.
    1392: "13.13 isolate n2\n15.49 power-gap n2 1",
    # It reboots within its isolation while its incident is held: there is nobody who could know of that boot when it is ordered off.
    2097: "7.41 join-zone n3 b\n7.91 isolate n3\n13.61 power-gap n3 1\n23.00 leave-zone n3 b",
    # vm12 (Manual) was brought back twice, once to n2. That node reboots later, up again before anybody could find it down.
    1962: (
        "2.01 capacity n1 6\n2.01 capacity n3 6\n2.01 capacity n5 6\n2.31 power-cut n2\n8.87 power-cut n4\n26.66 capacity n5 30\n"
        "28.27 power-gap n2 1\n30.79 capacity n3 30\n32.97 capacity n4 30\n36.62 capacity n1 30"
    ),
}


@pytest.mark.parametrize("seed", FOUND)
def test_what_a_random_schedule_has_found_breaks_nothing_any_more(seed: int) -> None:
    outcome = play(read(f"seed {seed}\n{FOUND[seed]}\n60.00 mend\n120.00 end"))
    assert not outcome.broken, "\n".join((outcome.broken, *outcome.log))
    assert outcome.recovered


def test_an_incident_that_waits_for_a_person_outlives_all_controllers() -> None:
    """Both controllers' processes are killed at once. The new ones lead before they hear of any agent."""
    script = "1.00 bmc n4 hang\n1.10 power-cut n4\n20.00 kill-controller n1 2\n20.00 kill-controller n2 2"
    outcome = play(read(f"seed 7\n{script}\n40.00 end"), real=True)
    assert not outcome.broken, "\n".join((outcome.broken, *outcome.log))
    assert outcome.incidents == 1
