"""Paths, and what an HTTP status means to whoever has to act."""

from __future__ import annotations

import json

import pytest

from ringfence.kube import kinds
from ringfence.kube.client import Expired, error_of, path_of
from ringfence.kube.reflector import LONGEST_PAUSE, key_of, pause_after
from ringfence.ports import AlreadyExists, ClusterError, Conflict, Forbidden, NotFound, Refused, Unavailable


def test_paths() -> None:
    assert path_of(kinds.NODE, "", "n1") == "/api/v1/nodes/n1"
    assert path_of(kinds.POD, "vms") == "/api/v1/namespaces/vms/pods"
    assert path_of(kinds.POD) == "/api/v1/pods"
    assert path_of(kinds.VM, "vms", "a/../b", "status").endswith("/virtualmachines/a%2F..%2Fb/status")
    assert path_of(kinds.FAILOVER, "ignored", "f") == "/apis/ringfence.io/v1alpha1/failovers/f"


@pytest.mark.parametrize(
    ("status", "reason", "expected"),
    [
        (400, "BadRequest", Refused),
        (401, "Unauthorized", Forbidden),
        (403, "Forbidden", Forbidden),
        (404, "NotFound", NotFound),
        (409, "Conflict", Conflict),
        (409, "AlreadyExists", AlreadyExists),
        (410, "Expired", Expired),
        (422, "Invalid", Refused),
        (429, "TooManyRequests", Unavailable),
        (500, "InternalError", Unavailable),
        (504, "Timeout", Unavailable),
    ],
)
def test_who_must_act(status: int, reason: str, expected: type[ClusterError]) -> None:
    body = json.dumps({"kind": "Status", "reason": reason, "message": "its own sentence"}).encode()
    error = error_of(status, body)
    assert type(error) is expected
    assert (str(error), error.status) == ("its own sentence", status)


def test_answers_of_things_in_between() -> None:
    assert str(error_of(502, b"<html>bad gateway")) == "<html>bad gateway"
    assert str(error_of(503, b"")) == "HTTP 503"
    busy = error_of(429, b"[]", "7")
    assert isinstance(busy, Unavailable)
    assert busy.retry_after == 7


def test_pauses_grow_within_bounds_and_honour_the_server() -> None:
    assert pause_after(1, None, 0.0) == pytest.approx(0.1)
    assert pause_after(1, None, 0.999) < 0.2
    assert all(pause_after(n, None, 0.999) <= LONGEST_PAUSE for n in range(1, 200))
    assert pause_after(200, None, 0.0) == LONGEST_PAUSE / 2
    assert pause_after(1, 5.0, 0.0) == 5.0
    assert pause_after(1, 3600.0, 0.0) == 2 * LONGEST_PAUSE


@pytest.mark.parametrize(
    "raw", [None, {}, {"metadata": []}, {"metadata": {"name": 3}}, {"metadata": {"name": ""}}]
)
def test_things_without_a_name_have_no_key(raw: object) -> None:
    assert key_of(raw) is None
