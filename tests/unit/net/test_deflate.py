"""Deflated frames: one after the other, short where they repeat, bounded whatever they claim."""

from __future__ import annotations

import contextlib
import os
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.net.deflate import DeflateError, Deflater, Inflater


@given(st.lists(st.binary(max_size=2000), max_size=20))
def test_frames_come_out_as_they_went_in(frames: list[bytes]) -> None:
    deflater, inflater = Deflater(), Inflater(2000)
    assert [inflater.frame(deflater.frame(frame)) for frame in frames] == frames


def test_a_frame_much_like_the_one_before_costs_what_differs() -> None:
    deflater, view = Deflater(), os.urandom(8000)
    first = deflater.frame(view)
    again = deflater.frame(view[:4000] + b"changed" + view[4000:])
    assert len(again) < len(first) / 50


@given(st.binary(max_size=300))
def test_rubbish_is_an_error_or_a_frame_within_its_bounds(packed: bytes) -> None:
    with contextlib.suppress(DeflateError):
        assert len(Inflater(100).frame(packed)) <= 100


def test_a_few_bytes_that_would_become_very_many_are_refused() -> None:
    bomb = Deflater().frame(bytes(10_000_000))
    assert len(bomb) < 100_000
    with pytest.raises(DeflateError, match="more than 1000 bytes"):
        Inflater(1000).frame(bomb)


def test_the_streams_end_is_no_frame() -> None:
    whole = zlib.compressobj(3, zlib.DEFLATED, -15)
    ended = whole.compress(b"last") + whole.flush()
    with pytest.raises(DeflateError, match="end"):
        Inflater(1000).frame(ended)
