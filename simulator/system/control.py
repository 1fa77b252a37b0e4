"""What faults and the world ask of whoever leads: the stand-in that takes steps (`controller.py`), or real replicas (`replicas.py`)."""

from __future__ import annotations

from typing import Protocol

from simulator.system.triples import Sight
from simulator.system.watch import Watch


class Control(Protocol):
    """The controller of one world."""

    backup_when: str | None
    """The cluster's store is backed up when an incident enters this phase."""
    die_after: str | None
    """The phase after whose storing the leader is killed."""

    @property
    def backed_up(self) -> bool:
        """Whether that backup was made."""

    def watched_by(self, watch: Watch) -> None:
        """Tell it of everything that is stored or done."""

    def turn(self) -> None:
        """One tick."""

    def kill(self, replica: str, back_after: float) -> None:
        """One replica's process dies, and is started again after so many seconds."""

    def stop(self, replica: str, back_after: float) -> None:
        """The same in order: the process is asked to end, as by SIGTERM."""

    def seen_of(self, node: str) -> Sight | None:
        """What the leader makes of the node; None: nobody leads, or it knows nothing of it."""

    def thaw(self) -> None:
        """A frozen leader goes on where it stood."""

    def new_leader(self) -> None:
        """The leader dies."""

    def restore(self) -> None:
        """The cluster's store is as it was at the backup."""
