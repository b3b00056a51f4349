"""Count the harm of repairs: ``plc bench detect --undamaged``.

Without clips, the kinds of :mod:`plc_bench.detection.kinds`, each of which looks like damage
somewhere. With clips, findings by domain: a finding with a doubt is told of and not filled, so
that it does no harm and is counted apart.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

import plc
from plc.repair.detect.findings import Finding
from plc_bench.base.corpus import Clip, read_clip
from plc_bench.base.workers import Failure, as_done
from plc_bench.detection.kinds import UNDAMAGED, undamaged

MOST_CHANGED = 0.01
"""Share of the samples of a kind that a repair may change."""
ALL = "all"


@dataclass(frozen=True, slots=True)
class Harm:
    """Findings in one undamaged recording.

    Attributes
    ----------
    name, domain : str
        The kind or clip; the domain of a clip.
    seconds : float
        Its length.
    filled : tuple of str
        Kind of each finding that a repair would fill.
    doubtful : int
        Findings that it would leave.
    changed : float
        Share of the samples that it would change, of all channels.
    """

    name: str
    domain: str
    seconds: float
    filled: tuple[str, ...]
    doubtful: int
    changed: float


@dataclass(frozen=True, slots=True)
class HarmScores:
    """Scores of all recordings, and those without scores."""

    recordings: list[Harm]
    failures: list[Failure]

    @property
    def harmed(self) -> list[str]:
        """Names of the recordings that a repair would change too much."""
        return [each.name for each in self.recordings if each.changed > MOST_CHANGED]


def measure_kinds(
    sample_rate: int, jobs: int = 1, on_done: Callable[[], None] = lambda: None
) -> HarmScores:
    """Look at every undamaged kind in ``jobs`` processes."""
    return _measured(partial(score_kind, sample_rate=sample_rate), list(UNDAMAGED), jobs, on_done)


def measure_clips(
    clips: Sequence[Clip], jobs: int = 1, on_done: Callable[[], None] = lambda: None
) -> HarmScores:
    """Look at sound clips, as they are, in ``jobs`` processes."""
    return _measured(score_clip, clips, jobs, on_done)


def score_kind(kind: str, sample_rate: int) -> Harm:
    """Return what is found in one undamaged kind."""
    return _harm(kind, "", undamaged(kind, sample_rate), sample_rate)


def score_clip(clip: Clip) -> Harm:
    """Return what is found in a clip, at its own rate."""
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


def _measured(
    work: Callable[..., Harm],
    items: Sequence[str] | Sequence[Clip],
    jobs: int,
    on_done: Callable[[], None],
) -> HarmScores:
    done: dict[int, Harm | Failure] = {}
    for number, result in as_done(work, items, jobs, _name_of):
        done[number] = result
        on_done()
    results = [done[number] for number in sorted(done)]
    return HarmScores(
        [each for each in results if isinstance(each, Harm)],
        [each for each in results if isinstance(each, Failure)],
    )


def _name_of(item: object) -> str:
    return item.name if isinstance(item, Clip) else str(item)


def kinds_table(scores: HarmScores) -> Table:
    """Return a row for each kind."""
    table = Table(
        title=f"{len(scores.recordings)} undamaged kinds; {len(scores.harmed)} changed by more "
        f"than {MOST_CHANGED:.0%}"
    )
    for heading in ("kind", "to fill", "doubtful", "changed", "kinds of what is filled"):
        table.add_column(heading, justify="left" if heading.startswith("kind") else "right")
    for each in scores.recordings:
        row = (each.name, str(len(each.filled)), str(each.doubtful), f"{each.changed:.2%}")
        table.add_row(*row, _counts(each.filled))
    return table


def clips_table(scores: HarmScores) -> Table:
    """Return a row for each domain."""
    table = Table(title="Findings in clips without damage")
    headings = ("domain", "clips", "minutes", "to fill", "in 10 minutes", "doubtful", "kinds")
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("domain", "kinds") else "right")
    for domain in (*sorted({each.domain for each in scores.recordings}), ALL):
        rows = [each for each in scores.recordings if domain in (ALL, each.domain)]
        minutes = sum(each.seconds for each in rows) / 60
        filled = [kind for each in rows for kind in each.filled]
        table.add_row(
            domain,
            str(len(rows)),
            f"{minutes:.1f}",
            str(len(filled)),
            f"{10 * len(filled) / minutes:.2f}" if minutes else "-",
            str(sum(each.doubtful for each in rows)),
            _counts(filled),
        )
    return table


def _counts(kinds: Sequence[str]) -> str:
    return ", ".join(f"{kind} {kinds.count(kind)}" for kind in dict.fromkeys(kinds))
