"""The agent's threads towards Kubernetes: roster in, NodeReport and Lease out. Detection needs none of them."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from ringfence.kube.node_api import RENEW_EVERY, AgentLease, ApiError, LeaseState, NodeApi

logger = logging.getLogger(__name__)

_RETRY_FIRST, _RETRY_LAST = 0.5, 15.0
CONFLICT = 409
HURRIED = 1.0
"""Seconds between two renewals while most peers don't hear this node."""


class KubernetesLink:
    """Two daemon threads; callbacks are called in them, so give ones that hand over to the loop."""

    def __init__(
        self,
        api: NodeApi,
        *,
        node: str,
        status: Callable[[], Mapping[str, Any] | None],
        on_roster: Callable[[str], None],
        on_lease: Callable[[bool], None],
        on_write: Callable[[LeaseState, float], None] = lambda _state, _sent_at: None,
        on_report: Callable[[Mapping[str, Any]], None] = lambda _status: None,
    ) -> None:
        """``on_write`` hears of each answer to a renewal, and when (CLOCK_BOOTTIME) it was *sent*; ``on_report`` of each
        status that the API server has acknowledged.
        """
        self._api = api
        self._node = node
        self._status = status
        self._on_roster = on_roster
        self._on_lease = on_lease
        self._on_write = on_write
        self._on_report = on_report
        self._reporting = threading.Lock()
        self._version = ""
        """Of the NodeReport, as we wrote it."""
        self._set_back = threading.Event()
        """The cluster's store was set back: what it has of this node is as old."""
        self._anew = threading.Event()
        """The report is to be written though it says nothing else."""
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._hurry = False

    def hurry(self, on: bool) -> None:
        """Renew the Lease at once and every second, because most peers don't hear this node.

        It may be alive all the same, cut off from its peers only: then this is what tells the controller in time.
        """
        if on != self._hurry:
            self._hurry = on
            self._wake.set()

    def report(self) -> None:
        """What the NodeReport says has changed: write it now."""
        self._wake.set()

    def store_of_before(self) -> None:
        """The API server shows a roster that is older than the agent's: its store was set back, and the report in it with it."""
        self._set_back.set()

    def roster_taken(self) -> None:
        """A roster came that is newer than the agent's. After a store that was set back the controller counts no report but
        one that is newer than that roster: write it anew.
        """
        if self._set_back.is_set():
            self._set_back.clear()
            self._anew.set()
            self._wake.set()

    def say(self, status: Mapping[str, Any]) -> bool:
        """Write this status now, in the caller's thread. Returns whether the API server has acknowledged it.

        While it is written no other of ours is on its way, and one that the server still carries out is refused.
        """
        for _ in range(2):  # the second over what an earlier write of ours, thought lost, has changed
            try:
                self._report(status)
            except (ApiError, OSError) as error:
                logger.warning("the API server took no report: %s", error)
                if isinstance(error, ApiError) and error.status == CONFLICT:
                    continue
                return False
            return True
        return False

    def _report(self, status: Mapping[str, Any]) -> None:
        with self._reporting:
            try:
                self._version = self._api.report(self._node, status, self._version)
            except ApiError:
                self._version = ""
                raise
            self._on_report(status)

    def start(self) -> None:
        """Begin to watch and to write."""
        for target in (self._watch, self._write):
            threading.Thread(target=target, name=target.__name__.strip("_"), daemon=True).start()

    def stop(self) -> None:
        """Ask the threads to end; they are not waited for."""
        self._stop.set()
        self._wake.set()
        self._api.close()

    def _watch(self) -> None:
        pause = _RETRY_FIRST
        while not self._stop.is_set():
            try:
                for text in self._api.watch_roster():
                    pause = _RETRY_FIRST
                    self._on_roster(text)
            except (ApiError, OSError) as error:
                logger.debug("the roster can't be watched: %s", error)
                pause = min(2 * pause, _RETRY_LAST)
            self._stop.wait(pause * random.uniform(0.8, 1.2))

    def _write(self) -> None:
        written: Mapping[str, Any] | None = None
        held: bool | None = None
        lease: AgentLease | None = None
        while not self._stop.is_set():
            status = self._status()
            if self._anew.is_set():
                self._anew.clear()
                written = None
            try:
                if status is not None and status != written:
                    self._report(status)
                    written = status
                if lease is None and status is not None:
                    lease = AgentLease(self._api, self._node, f"{status['nodeUID']}/{status['bootID']}")
                now_held = lease is not None and self._renew(lease) is LeaseState.HELD
            except (ApiError, OSError) as error:
                logger.debug("the API server took no report: %s", error)
                now_held = False
            if now_held is not held:
                logger.info("the agent's lease is %s", "held" if now_held else "not held")
                self._on_lease(now_held)
                held = now_held
            pause = RENEW_EVERY if written == status else RENEW_EVERY / 2
            self._wake.wait(HURRIED if self._hurry else pause)
            self._wake.clear()

    def _renew(self, lease: AgentLease) -> LeaseState:
        sent_at = time.clock_gettime(time.CLOCK_BOOTTIME)
        state = lease.renew()
        self._on_write(state, sent_at)
        if lease.contested:
            # Another version of it stood there, with us as its holder: so it is, too, when the store was set back.
            lease.contested = False
            self._set_back.set()
            self._anew.set()
            self._wake.set()
        return state
