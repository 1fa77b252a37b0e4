"""Kubernetes' micro times. Only for people and for the API: no duration but the days since a drill is computed from them."""

from __future__ import annotations

from datetime import UTC, datetime


def stamp(wall: float) -> str:
    """``wall`` (seconds since the epoch) as ``2026-01-31T12:00:00.000000Z``."""
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse(text: str) -> float:
    """Seconds since the epoch; ValueError if the text is no time."""
    return datetime.fromisoformat(text).timestamp()
