"""Placeholder until the story is written."""

from __future__ import annotations


def run(_name: str) -> int:
    raise NotImplementedError
