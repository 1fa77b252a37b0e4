"""Am I deaf? Who can't hear can't know whether he is heard, but he can say that he lives."""

from __future__ import annotations

from collections.abc import Callable

from ringfence.core.gossip import rounds
from ringfence.core.gossip.desk import Desk
from ringfence.core.gossip.rings import is_small
from ringfence.core.gossip.subject import Subject


class Deafness:
    """One agent's suspicion of itself. ``ping`` sends one ping."""

    def __init__(self, desk: Desk, ping: Callable[[Subject, float], object]) -> None:
        self._directory = desk.directory
        self._timers = desk.timers
        self._ping = ping
        self._missed: tuple[str, float] | None = None
        """The member that was the last not to answer a probe in time, and when."""
        self._unanswered_since: float | None = None
        """Since when we hold it possible that we are deaf."""
        self._answered_at = float("-inf")
        """When anybody last answered us."""

    def answered(self, came: float) -> None:
        """Somebody's answer has come to us: we hear."""
        self._answered_at = max(came, self._answered_at)
        self._unanswered_since = None

    def missed(self, subject: Subject, now: float) -> None:
        """It has not answered a probe. If it is the second, and nobody has since the first, it may be we who don't hear.

        Those who watch us are told that we live, in each of their examinations; they need not be those that we probe.
        """
        before, self._missed = self._missed, (subject.member.uid, now)
        if is_small(self._directory.present_roster) or before is None or before[0] == subject.member.uid:
            return
        if self._answered_at < before[1] and self._unanswered_since is None:
            self._unanswered_since = now
            self._cry(now)

    def _cry(self, now: float) -> None:
        """Beacon to all that watch us until somebody answers, so often that every examination of theirs hears one."""
        me = self._directory.me
        if me is None or self._unanswered_since is None:
            return
        for member in self._directory.present_rings.observers(me.uid):
            if (watcher := self._directory.subject(member.uid)) is not None:
                self._ping(watcher, now)
        pause = 0.8 * rounds.EXAMINATION
        self._timers.at(
            now + pause, lambda now, _late: self._cry(now), wanted=lambda: self._unanswered_since is not None
        )
