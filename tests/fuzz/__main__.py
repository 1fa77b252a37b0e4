"""``python -m fuzz TARGET [--seconds 60]``: coverage-guided fuzzing of one target by atheris, with its kept corpus.

New inputs that reach new code are added to the corpus; one that raises is written to ``crash-*`` there, and stays as a
test once its bug is mended.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["ringfence"]):
    from fuzz.targets import TARGETS, seeds

CORPUS = Path(__file__).parent / "corpus"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=int, default=60)
    chosen = parser.parse_args()
    folder = CORPUS / chosen.target
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds()[chosen.target]:
        (folder / hashlib.sha1(seed, usedforsecurity=False).hexdigest()).write_bytes(seed)
    atheris.Setup(
        [
            sys.argv[0],
            str(folder),
            f"-max_total_time={chosen.seconds}",
            f"-artifact_prefix={folder}/",
            "-max_len=4096",
            "-timeout=10",
        ],
        TARGETS[chosen.target],
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
