"""Looking around: is it they, or is it me? Runs the surveys (`survey` says what one amounts to).

Whoever wants to accuse waits here for a survey that has found most of the roster in reach. An agent that finds itself
cut off looks again now and then, and as soon as one answers that was silent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from ringfence.core.gossip import survey as surveys
from ringfence.core.gossip.desk import Desk
from ringfence.core.gossip.events import AwarenessChanged
from ringfence.core.gossip.subject import Subject
from ringfence.core.gossip.survey import Survey
from ringfence.core.gossip.timers import Action


class Surveyor:
    """One agent's. ``ping`` sends one ping."""

    def __init__(self, desk: Desk, ping: Callable[[Subject, float], object]) -> None:
        self._directory = desk.directory
        self._timers = desk.timers
        self._journal = desk.journal
        self._awareness = desk.awareness
        self._dice = desk.dice
        self._ping = ping
        self._survey: Survey | None = None
        self._samples: deque[float] = deque()
        """When we have asked samples within the last second."""
        self._sampled: Survey | None = None
        """The last one that found a majority of a sample in reach."""
        self._reached_at = float("-inf")
        """When the last one began that found most in reach, while none has found the contrary since."""
        self._looked_at = float("-inf")
        """When we last looked again because one answered that had been silent."""

    def look_around(self, now: float, then: Callable[[float], None] | None = None) -> None:
        """Go on with ``then`` once a survey has found most of the roster in reach; not at all if it doesn't."""
        survey = self._survey
        if survey is None or (survey.majority is not None and now - survey.started > surveys.FRESH):
            near = [subject for subject in self._directory.watched if subject.member.votes]
            uids = frozenset(one.member.uid for one in near)
            base, share = self._base(now)
            voters = len(self._directory.present_roster.voters)
            survey = Survey(now, uids, voters, base=base & uids, base_share=share)
            self._survey = survey
            self._journal.stats["surveys"] += 1
            if survey.majority is None:
                for subject in near:
                    self._ping(subject, now)
                self._timers.at(now + surveys.NEAR, self._step(survey, self._widen))
                self._timers.at(now + surveys.AGAIN, self._step(survey, self._ask_again))
                self._timers.at(now + surveys.CLOSE, self._step(survey, self._close))
        if then is not None and survey.majority is not False:
            survey.then.append(then)
        self._settle(survey, now)

    def _base(self, now: float) -> tuple[frozenset[str], float]:
        """Who near us answered in the last sample, and how many of them must still for that to hold."""
        sampled = self._sampled
        if sampled is None or now - sampled.started > surveys.REPEAT:
            return frozenset(), surveys.BASE_SHARE
        least = 0.5 if now - sampled.started <= surveys.PAUSE else surveys.BASE_SHARE
        # Of a sample of which 60 % answered, a quarter less would be a minority.
        return frozenset(sampled.heard & sampled.near), max(least, 0.5 / sampled.share)

    def answered(self, subject: Subject, asked_at: float, now: float) -> None:
        """It has answered: that may end a survey, and one that was silent in the last may end our isolation."""
        sampled = self._sampled
        if sampled is not None and sampled.started <= asked_at <= sampled.started + surveys.CLOSE:
            sampled.answered(subject.member.uid)
        survey = self._survey
        if survey is None:
            return
        uid = subject.member.uid
        if asked_at >= survey.started and survey.majority is None:
            survey.answered(uid)
            self._settle(survey, now)
        elif self._awareness.isolated and uid in survey.silent and now - self._looked_at >= surveys.PAUSE:
            self._looked_at = now
            self.look_around(now)

    def reaches_most(self, since: float) -> bool:
        """Whether a survey that began then or later has found most of the roster in reach."""
        return self._reached_at >= since - surveys.FRESH

    # -- the steps of one survey ----------------------------------------------------------------------------------

    def _step(self, survey: Survey, action: Callable[[Survey, float], None]) -> Action:
        return lambda now, _late: (
            action(survey, now) if survey.majority is None and survey is self._survey else None
        )

    def _widen(self, survey: Survey, now: float) -> None:
        while self._samples and now - self._samples[0] > surveys.PAUSE:
            self._samples.popleft()
        if len(self._samples) >= surveys.MOST_SAMPLES:
            survey.unsampled = True
            self._ask_all(sorted(survey.silent), now)  # its base may still answer, where a ping was lost
            return
        self._samples.append(now)
        voters = self._directory.present_roster.voters
        drawn = self._dice.sample(voters, min(surveys.SAMPLE + 1, len(voters)))
        self._journal.stats["wide surveys"] += 1
        sample = [member.uid for member in drawn if member.name != self._directory.node]
        self._ask_all(survey.widen(sample), now)
        self._settle(survey, now)

    def _ask_anew(self, waiting: Iterable[Callable[[float], None]], now: float) -> None:
        for action in waiting:
            self.look_around(now, action)

    def _ask_again(self, survey: Survey, now: float) -> None:
        silent = sorted(survey.silent)
        rest = survey.widen_again()
        if rest is not None:
            self._ask_all(self._dice.sample(silent, min(surveys.FEW, len(silent))), now)
            self._ask_all(rest, now)
            self._settle(survey, now)

    def _ask_all(self, uids: Iterable[str], now: float) -> None:
        for uid in uids:
            if (subject := self._directory.subject(uid)) is not None:
                self._ping(subject, now)

    def _close(self, survey: Survey, now: float) -> None:
        if survey.unsampled:
            self._put_off(survey, now)
        else:
            survey.close()
            self._settle(survey, now)

    def _put_off(self, survey: Survey, now: float) -> None:
        """It has no result: without a sample who is silent may be dead, and we no more cut off than before."""
        self._journal.stats["surveys put off"] += 1
        self._survey, waiting = None, survey.then
        again = max(now, self._samples[0] + surveys.PAUSE)
        if self._awareness.isolated:
            self._timers.at(now + surveys.PAUSE, lambda now, _late: self.look_around(now))
        elif waiting:
            self._timers.at(again, lambda now, _late: self._ask_anew(waiting, now))

    def _settle(self, survey: Survey, now: float) -> None:
        """Take over its result, if it has one."""
        if survey.majority is None or survey is not self._survey:
            return
        waiting, survey.then = survey.then, []
        if self._awareness.isolated is survey.majority:
            self._awareness.isolated = not survey.majority
            self._journal.version += 1
            self._journal.tell(AwarenessChanged(self._awareness.isolated))
        self._reached_at = survey.started if survey.majority else float("-inf")
        if survey.majority:
            for action in waiting:
                action(now)
            if survey.wide and not survey.settled:
                self._sampled = survey
        elif not survey.settled:
            self._timers.at(
                now + surveys.REPEAT,
                lambda now, _late: self.look_around(now),
                wanted=lambda: self._survey is survey,
            )
        survey.settled = True
