"""The Lease by which those who mend nodes keep out of each other's way: until when it is somebody's."""

from __future__ import annotations

import pytest

from ringfence.core.failover.node_lease import Held

WALL = 1000.0


@pytest.mark.parametrize(
    ("held", "valid"),
    [
        (Held("NHC", WALL - 600.0, 600.0), True),
        (Held("NHC", WALL - 600.1, 600.0), False),
        (Held("NHC", WALL + 5.0, 600.0), True),  # its writer's clock is a little ahead of ours
        (Held("NHC", WALL + 601.0, 600.0), False),
        (Held("", WALL, 600.0), False),
        (Held("NHC", None, 600.0), False),
        (Held("NHC", WALL, None), False),
    ],
)
def test_a_lease_is_its_holders_until_it_expires(held: Held, valid: bool) -> None:
    assert held.valid(WALL) is valid
