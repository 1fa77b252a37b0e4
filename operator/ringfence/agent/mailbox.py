"""What agent and feeder tell each other: two small files in a folder of the node's /run, replaced whole.

``legs`` is the agent's word, ``feeder`` the feeder's. Both name the boot they are about, so a file that has outlived
one says nothing; both outlive their process, so that T_iso counts on over a restart. A file that can't be read is no word.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ringfence.core.fencing.selffence import Leg, Promise, Word
from ringfence.host import storage_leg

STORAGE_LEG = "storage-leg"
"""The heartbeat's file in the same folder, as the chart gives it to `ringfence.slots`."""
RUN_DIRECTORY = Path("/run/ringfence")


@dataclass(frozen=True, slots=True)
class FeederState:
    """The feeder's word. Instants are CLOCK_BOOTTIME."""

    armed: bool
    why: str
    """Why it is not armed, or not fed; empty where all is well."""
    device: str = ""
    timeout: float | None = None
    """What the driver took."""
    asked: float | None = None
    """What it was asked for."""
    isolation: float | None = None
    nowayout: bool | None = None
    fed_at: float | None = None


class Mailbox:
    """The folder, for one boot."""

    def __init__(self, folder: Path, boot_id: str) -> None:
        self._folder = folder
        self._boot_id = boot_id

    def put_word(self, word: Word) -> None:
        """The agent's. Raises OSError."""
        self._put(
            "legs",
            {
                "lookedAt": word.looked_at,
                "attentiveSince": word.attentive_since,
                "held": {leg.value: at for leg, at in word.held.items()},
                "leave": word.leave,
                "disarm": word.disarm,
            },
        )

    def word(self) -> Word | None:
        raw = self._get("legs")
        try:
            return None if raw is None else _word(raw)
        except (KeyError, TypeError, ValueError, AttributeError):
            return None

    def put_state(self, state: FeederState) -> None:
        """The feeder's. Raises OSError."""
        self._put(
            "feeder",
            {
                "armed": state.armed,
                "why": state.why,
                "device": state.device,
                "timeout": state.timeout,
                "asked": state.asked,
                "isolation": state.isolation,
                "nowayout": state.nowayout,
                "fedAt": state.fed_at,
            },
        )

    def state(self) -> FeederState | None:
        raw = self._get("feeder")
        try:
            return None if raw is None else _state(raw)
        except (KeyError, TypeError, ValueError):
            return None

    def put_promise(self, promise: Promise) -> None:
        """What the API server has last acknowledged as armed, for the agent's successor. Raises OSError."""
        content = {
            "isolation": promise.isolation,
            "timeout": promise.timeout,
            "legs": sorted(promise.legs),
        }
        self._put("promise", content)

    def promise(self) -> Promise | None:
        raw = self._get("promise")
        try:
            return None if raw is None else _promise(raw)
        except (KeyError, TypeError, ValueError):
            return None

    def storage_held_at(self, now: float) -> float:
        """When the storage leg last held in this boot, as the heartbeat says; `NEVER` where it has not."""
        return storage_leg.held_at(self._folder / STORAGE_LEG, self._boot_id, now)

    def _put(self, name: str, content: Mapping[str, Any]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        new = self._folder / f".{name}"
        new.write_text(json.dumps({"bootID": self._boot_id, **content}), encoding="ascii")
        new.replace(self._folder / name)

    def _get(self, name: str) -> dict[str, Any] | None:
        try:
            raw = json.loads((self._folder / name).read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None
        return raw if isinstance(raw, dict) and raw.get("bootID") == self._boot_id else None


def _instant(raw: object) -> float:
    if not isinstance(raw, int | float) or not math.isfinite(raw):
        raise TypeError("not an instant")
    return float(raw)


def _word(raw: Mapping[str, Any]) -> Word:
    return Word(
        looked_at=_instant(raw["lookedAt"]),
        attentive_since=_instant(raw["attentiveSince"]),
        held={Leg(leg): _instant(at) for leg, at in raw["held"].items()},
        leave=raw["leave"] is True,
        disarm=raw["disarm"] is True,
    )


def _promise(raw: Mapping[str, Any]) -> Promise:
    # An agent of the version before said nothing of its legs: it had no storage leg.
    legs = frozenset(Leg(leg) for leg in raw.get("legs", ()))
    return Promise(_instant(raw["isolation"]), _instant(raw["timeout"]), frozenset(leg.value for leg in legs))


def _state(raw: Mapping[str, Any]) -> FeederState:
    return FeederState(
        armed=raw["armed"] is True,
        why=str(raw["why"]),
        device=str(raw["device"]),
        timeout=None if raw["timeout"] is None else _instant(raw["timeout"]),
        asked=None if raw["asked"] is None else _instant(raw["asked"]),
        isolation=None if raw["isolation"] is None else _instant(raw["isolation"]),
        nowayout=raw["nowayout"] if isinstance(raw["nowayout"], bool) else None,
        fed_at=None if raw["fedAt"] is None else _instant(raw["fedAt"]),
    )
