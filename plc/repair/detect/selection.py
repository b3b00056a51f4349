"""A user's selection of findings."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from plc.errors import ConfigError, unknown
from plc.repair.detect.findings import KINDS, Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Findings to be listed and filled: they meet all three limits.

    Attributes
    ----------
    kinds : tuple of str
        Of ``KINDS``; empty for all of them.
    min_confidence : float
        0 to 1.
    longest_ms : float
        Longer findings are left out.
    doubtful : bool
        Whether doubtful places are damage, too.

    Raises
    ------
    ConfigError
        If there is no such kind, or a number is out of range.
    """

    kinds: tuple[str, ...] = ()
    min_confidence: float = 0.0
    longest_ms: float = math.inf
    doubtful: bool = False

    def __post_init__(self) -> None:
        """Raise for an impossible selection."""
        for kind in self.kinds:
            if kind not in KINDS:
                raise ConfigError(unknown("kind of damage", kind, KINDS))
        if not 0.0 <= self.min_confidence <= 1.0:
            raise ConfigError(f"the least confidence is {self.min_confidence}; give 0 to 1")
        if not self.longest_ms > 0.0:
            raise ConfigError(f"the longest damage is {self.longest_ms} ms; give more than 0")

    def of(self, findings: Iterable[Finding], sample_rate: int) -> tuple[Finding, ...]:
        """Return the findings that are asked for, in their order."""
        longest = self.longest_ms * sample_rate / 1000
        return tuple(
            replace(each, doubt="") if self.doubtful else each
            for each in findings
            if (not self.kinds or each.kind in self.kinds)
            and each.confidence >= self.min_confidence
            and each.stop - each.start <= longest
        )


EVERYTHING = Selection()
