"""The ring's group keys as the HACluster tells of them, and the wish for new ones.

A wish is a number in the HACluster's spec: it outlives this command, and asking twice at once is asking once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ringfence.cli.picture import Reader, objects
from ringfence.ports import NotFound

SETTLED = "Settled"


class NothingToldError(Exception):
    """No controller has told anything of the keys; the sentence says what to look at."""


@dataclass(frozen=True, slots=True)
class KeysRow:
    """How far the keys' change has come."""

    generation: int
    asked: int
    """The generation asked for."""
    step: str
    """Settled, Installing, Using, Removing; or why nothing goes on."""
    held: tuple[str, ...]
    used: str
    waiting_for: tuple[str, ...]
    sentence: str

    @property
    def done(self) -> bool:
        """Whether what was asked for has been carried out."""
        return self.step == SETTLED and self.generation >= self.asked


def look(reader: Reader) -> KeysRow:
    """What the HACluster tells now. Raises NotFound without one, NothingToldError, ClusterError."""
    cluster = next((c for c in objects(reader, "haclusters") if c.name == "default"), None)
    if cluster is None:
        raise NotFound("no HACluster named default: create it first, an empty spec will do", status=404)
    keys = cluster.part("status", "keys")
    said = cluster.condition("KeysSettled")
    if not keys.content:
        raise NothingToldError(
            said.text("message")
            or "no controller has told of the group keys yet: is one running (ringfence status), and are the CRDs "
            "of its version applied?"
        )
    asked = int(cluster.text("spec", "gossip", "keyGeneration") or 0)
    generation = int(keys.text("generation") or 0)
    return KeysRow(
        generation=generation,
        asked=asked,
        step=keys.text("step") if said.text("status") == "True" else said.text("reason"),
        held=keys.texts("held"),
        used=keys.text("used"),
        waiting_for=keys.texts("waitingFor"),
        sentence=said.text("message"),
    )


def ask(reader: Reader, without: Sequence[str]) -> int:
    """Ask for the next generation and return it; while a change is under way that one is asked for again.

    ``without`` are the nodes that the change shall not wait for. Raises as `look`.
    """
    now = look(reader)
    wanted = max(now.asked, now.generation) + (1 if now.done else 0)
    reader.ask_for_keys(wanted, without)
    return wanted
