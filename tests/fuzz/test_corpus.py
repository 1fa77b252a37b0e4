"""Every input that the fuzzer has kept, played again: none may raise."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_nothing_in_the_corpus_raises(target: str) -> None:
    inputs = sorted(path for path in (CORPUS / target).iterdir() if path.is_file())
    assert len(inputs) >= 10, f"the corpus of {target} is missing: python -m fuzz {target}"
    for path in inputs:
        TARGETS[target](path.read_bytes())
