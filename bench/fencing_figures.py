"""What the parts of the bench of fences have in common: a row of figures, and how a series is told."""

from __future__ import annotations

import statistics
from typing import Any

Row = dict[str, Any]


def spread(name: str, values: list[float]) -> dict[str, float]:
    """Median and p90 of a series."""
    p90 = statistics.quantiles(values, n=10)[-1] if len(values) > 1 else values[0]
    return {f"{name}_median": round(statistics.median(values), 3), f"{name}_p90": round(p90, 3)}
