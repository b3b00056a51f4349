"""Choice of the streams that may prepare when cores are scarce.

Preparing after every packet takes up to most of a core for one stream. The streams of a process
share half the processors that it may use, two at most, as their threads take turns at the
interpreter with the audio's: those that lost a packet last come first, and one may always prepare.
Among more than eight none does. Claims are looked through twice a second at most, by whichever
stream comes first.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

_SHARE_OF_CORES = 0.5
_MOST_CORES = 2.0
# A cheap preparation, too, takes the interpreter from the audio thread now and then.
_LEAST_SHARE = 0.5
# From so many on one thread serves many streams, as a rule, and is held up by any that prepares
# (docs/notebook.md, "Ahead of the loss").
_CROWD = 8
_REVIEW_S = 0.5
# A stream that asked for nothing in this time leaves its share to others.
_ASKED_S = 2.0


@dataclass(slots=True, eq=False)
class Claim:
    """Share of a core that one stream takes, and its permission."""

    share: float
    """Of a core, while it prepares."""
    granted: bool = True
    lost_s: float = 0.0
    """When it last lost a packet."""
    asked_s: float = 0.0
    """When it last would have prepared."""


class Cores:
    """The claims of a process; every method is for any thread, and none waits.

    Parameters
    ----------
    most : float
        Cores that all claims may take.
    clock : callable
        Returns seconds.
    """

    def __init__(self, most: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._claims: dict[int, Claim] = {}  # whose operations are atomic
        self._reviewed_s = float("-inf")

    def enter(self, claim: Claim) -> None:
        """Add a claim."""
        claim.asked_s = self._clock()
        self._claims[id(claim)] = claim
        self._reviewed_s = float("-inf")

    def leave(self, claim: Claim) -> None:
        """Remove a claim, if there is one."""
        self._claims.pop(id(claim), None)

    def may(self, claim: Claim) -> bool:
        """Return whether a claim is granted; review all if that is due."""
        now_s = claim.asked_s = self._clock()
        if now_s - self._reviewed_s >= _REVIEW_S:
            self._reviewed_s = now_s
            self._review(now_s)
        return claim.granted

    def lost(self, claim: Claim) -> None:
        """Note that a stream loses a packet now."""
        claim.lost_s = self._clock()

    def _review(self, now_s: float) -> None:
        taken = 0.0
        asking = [each for each in list(self._claims.values()) if now_s - each.asked_s <= _ASKED_S]
        crowd = len(asking) > _CROWD
        for place, claim in enumerate(sorted(asking, key=_newest_loss)):
            taken += max(claim.share, _LEAST_SHARE)
            claim.granted = not crowd and (place == 0 or taken <= self._most)


def _newest_loss(claim: Claim) -> float:
    return -claim.lost_s


def usable_cores() -> int:
    """Return how many processors this process may run on; all where the system does not tell."""
    known = getattr(os, "sched_getaffinity", None)
    return len(known(0)) if known else os.cpu_count() or 1


CORES = Cores(min(_SHARE_OF_CORES * usable_cores(), _MOST_CORES))
"""Those of this process."""
