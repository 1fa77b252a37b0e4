"""The chart's defaults in a file that its templates can read, which they can't of `values.yaml`: ``python -m publish.defaults > charts/ringfence/files/defaults.yaml``."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

VALUES = Path(__file__).parents[1] / "charts" / "ringfence" / "values.yaml"


def defaults() -> str:
    """The whole file."""
    head = "# For values that are not there (`ringfence.complete`). Written by `make published` from values.yaml: change them there.\n"
    return head + str(yaml.safe_dump(yaml.safe_load(VALUES.read_text()), sort_keys=False))


if __name__ == "__main__":
    sys.stdout.write(defaults())
