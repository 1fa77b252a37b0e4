"""The cluster's store set back to an earlier state (an etcd restored from a backup): how it shows, and what it makes old.

A restored store doesn't say so of itself. What it can't set back is what agents keep on their nodes: the newest roster that
our leader has signed, whose epoch grows with each publication, and one is published whenever what is proved, or what a
watchdog promises, changes. An agent that shows a roster of ours with a later epoch than the store has proves that the store was
later once, and is no more.

From then on everything that stands there is old (DESIGN §3: "after an etcd restore no stored proof counts"), until it has been
written since. *When* is told by the store's own versions, never by a clock: no report counts that is not newer than
:attr:`SetBack.version`, no storage's fence that was made under an epoch which is no later than :attr:`SetBack.held`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass


class SetBackError(ValueError):
    """This text is not what a SetBack was written as."""


@dataclass(frozen=True, slots=True)
class SetBack:
    """One time that the store was set back."""

    held: int
    """The epoch of the roster that an agent showed, signed by our key."""
    stored: int
    """The epoch that the store had then; 0: it had no roster."""
    version: int = 0
    """The version of the store at which this was written into it; 0: not yet, so all of it is of before."""
    settled: bool = False
    """Its readers have had their time to write anew what is true."""

    def of_before(self, version: int) -> bool:
        """Whether an object of this version was not written since."""
        return self.version == 0 or version <= self.version

    @property
    def sentence(self) -> str:
        """Why nothing is done."""
        had = f"it had roster {self.stored}" if self.stored else "it had no roster"
        return (
            f"the cluster's store was set back to an earlier state ({had}, agents hold roster {self.held}): what it says may be"
            " false, so nothing is fenced, moved or lifted until it was written anew"
        )

    def text(self) -> str:
        """As ConfigMap ``ringfence-roster`` keeps it."""
        return json.dumps(
            {"held": self.held, "stored": self.stored, "version": self.version, "settled": self.settled}
        )


def read(text: str) -> SetBack:
    """Raises SetBackError."""
    try:
        found = json.loads(text)
        held, stored, version = (found[name] for name in ("held", "stored", "version"))
        settled = found["settled"]
    except (ValueError, TypeError, KeyError) as error:
        raise SetBackError(f"not a note of a store that was set back: {error}") from error
    numbers = (held, stored, version)
    if not all(type(number) is int and number >= 0 for number in numbers) or type(settled) is not bool:
        raise SetBackError("not a note of a store that was set back: a field of another type")
    return SetBack(held, stored, version, settled)
