"""Count the harm of repairs: ``plc bench detect damage --undamaged``.

Without clips, the kinds of :mod:`plc_bench.restore.kinds`, each of which looks like damage
somewhere. With clips, findings by domain: a finding with a doubt is told of and not filled, so
that it does no harm and is counted apart.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import plc
from plc.restore.detect.findings import Finding
from plc_bench.base.corpus import Clip, read_clip
from plc_bench.base.tables import Table
from plc_bench.restore.kinds import undamaged

MOST_CHANGED = 0.01
"""Share of the samples of a kind that a repair may change."""
ALL = "all"
SAMPLE_RATE = 44_100
"""Of the kinds, in Hz."""


@dataclass(frozen=True, slots=True)
class Harm:
    """Findings in one undamaged recording.

    Attributes
    ----------
    name, domain : str, the kind or clip; the domain of a clip
    seconds : float, its length
    filled : tuple of str, kind of each finding that a repair would fill
    doubtful : int, findings that it would leave
    changed : float, share of the samples that it would change, of all channels
    """

    name: str
    domain: str
    seconds: float
    filled: tuple[str, ...]
    doubtful: int
    changed: float


def harmed(recordings: Iterable[Harm]) -> list[str]:
    """Return the names of the recordings that a repair would change too much."""
    return [each.name for each in recordings if each.changed > MOST_CHANGED]


def score_kind(kind: str, sample_rate: int = SAMPLE_RATE, seed: int = 0) -> Harm:
    """Return the findings in one undamaged kind."""
    return _harm(kind, "", undamaged(kind, sample_rate, seed=seed), sample_rate)


def score_clip(clip: Clip) -> Harm:
    """Return the findings in a clip, at its own rate."""
    read = read_clip(clip.path)
    return _harm(clip.name, clip.domain, read.signal, read.sample_rate)


def _harm(name: str, domain: str, signal: NDArray[np.float32], rate: int) -> Harm:
    findings = plc.detect(signal, sample_rate=rate)
    filled = [each for each in findings if not each.doubt]
    return Harm(
        name,
        domain,
        len(signal) / rate,
        tuple(each.kind for each in filled),
        len(findings) - len(filled),
        changed_share(filled, len(signal), signal.shape[1]),
    )


def changed_share(filled: Iterable[Finding], samples: int, channels: int) -> float:
    """Return the share of samples that filling these would change."""
    changed = np.zeros((samples, channels), np.bool_)
    for each in filled:
        for start, stop in each.gaps:
            changed[start:stop, list(each.channels)] = True
    return float(changed.mean())


def kinds_table(recordings: Sequence[Harm]) -> Table:
    """Return a row for each kind."""
    table = Table(
        f"{len(recordings)} undamaged kinds; {len(harmed(recordings))} changed by more "
        f"than {MOST_CHANGED:.0%}",
        ("kind", "to fill", "doubtful", "changed", "kinds of what is filled"),
        left=(0, -1),
    )
    for each in recordings:
        changed = f"{each.changed:.2%}"
        table.add(each.name, len(each.filled), each.doubtful, changed, _counts(each.filled))
    return table


def clips_table(recordings: Sequence[Harm]) -> Table:
    """Return a row for each domain."""
    headings = ("domain", "clips", "minutes", "to fill", "in 10 minutes", "doubtful", "kinds")
    table = Table("Findings in clips without damage", headings, left=(0, -1))
    for domain in (*sorted({each.domain for each in recordings}), ALL):
        rows = [each for each in recordings if domain in (ALL, each.domain)]
        minutes = sum(each.seconds for each in rows) / 60
        filled = [kind for each in rows for kind in each.filled]
        rate = f"{10 * len(filled) / minutes:.2f}" if minutes else "-"
        doubtful = sum(each.doubtful for each in rows)
        cells = (len(rows), f"{minutes:.1f}", len(filled), rate, doubtful, _counts(filled))
        table.add(domain, *cells)
    return table


def _counts(kinds: Sequence[str]) -> str:
    return ", ".join(f"{kind} {kinds.count(kind)}" for kind in dict.fromkeys(kinds))
