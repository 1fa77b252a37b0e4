"""The note that a store was set back, as it is kept in that store."""

from __future__ import annotations

import pytest

from ringfence.core.setback import SetBack, SetBackError, read


@pytest.mark.parametrize(
    "note", [SetBack(501, 480), SetBack(7, 0, version=12), SetBack(7, 3, 12, settled=True)]
)
def test_what_is_written_is_read_again(note: SetBack) -> None:
    assert read(note.text()) == note


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        '{"held": 3}',
        '{"held": -1, "stored": 0, "version": 0, "settled": false}',
        '{"held": true, "stored": 0, "version": 0, "settled": false}',
        '{"held": 3, "stored": 0, "version": "0", "settled": false}',
        '{"held": 3, "stored": 0, "version": 0, "settled": "no"}',
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(SetBackError, match="not a note"):
        read(text)


def test_what_was_not_written_since_is_of_before() -> None:
    noted = SetBack(501, 480, version=90)
    assert noted.of_before(90)
    assert not noted.of_before(91)
    assert SetBack(501, 480).of_before(10**9), "nobody knows yet from which version on it is anew"


def test_the_sentence_says_both_epochs() -> None:
    assert "it had roster 480, agents hold roster 501" in SetBack(501, 480).sentence
    assert "it had no roster, agents hold roster 501" in SetBack(501, 0).sentence
