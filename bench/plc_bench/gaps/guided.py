"""Fills of one channel with and without the others: ``plc bench inpaint --one-channel``.

Gaps of the first channel are filled twice: alone, and with the other channels beside it. Each gap
is filled in a copy of the clip that is intact elsewhere.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from plc.errors import ConfigError
from plc.notice import counted
from plc_bench.base.compare import mean_interval
from plc_bench.base.corpus import Samples, clip_seed, read_clip
from plc_bench.base.tables import Table
from plc_bench.gaps.twosided import JANSSEN, InpaintSettings, draw_gaps, fill
from plc_bench.scores import metrics

# A gap counts as worse or better by more than this.
_AUDIBLE_DB = 0.5
_HEADINGS = (
    *("method", "gap", "clip", "alike", "alone dB", "guided dB", "gain dB", "95 % interval"),
    *("worse", "better", "alone ms", "guided ms"),
)


@dataclass(frozen=True, slots=True)
class GuidedGap:
    """One gap of the first channel, filled by one method.

    Attributes
    ----------
    start : int
        First sample of the gap.
    likeness : float
        Correlation of the first channel with the one most like it.
    alone_db, guided_db : float
        SNR of the samples, without and with the other channels.
    alone_ms, guided_ms : float
        Processor time of the fill.
    """

    clip: str
    method: str
    start: int
    gap_ms: float
    likeness: float
    alone_db: float
    guided_db: float
    alone_ms: float
    guided_ms: float


def check(settings: InpaintSettings) -> None:
    """Refuse methods and losses of which others' channels cannot help."""
    if JANSSEN in settings.methods or settings.hops_lost < 1.0:
        raise ConfigError("one channel alone is lost as a whole, and filled by methods of plc")


def score_clip(path: Path, settings: Sequence[InpaintSettings]) -> list[GuidedGap]:
    """Return the scores of one clip's gaps, of each length; a clip has two channels or more."""
    found = []
    for each in settings:
        signal = read_clip(path, each.sample_rate).signal
        if signal.shape[1] < 2:
            raise ConfigError(f"{path.name} has one channel; give clips of two and more")
        likeness = float(np.abs(np.asarray(np.corrcoef(signal.T))[0, 1:]).max())
        for start in draw_gaps(signal[:, 0], each, clip_seed(path.name)):
            for method in each.methods:
                scored = _scored(signal, start, method, each)
                found.append(GuidedGap(path.name, method, start, each.gap_ms, likeness, *scored))
    return found


def _scored(
    signal: Samples, start: int, method: str, settings: InpaintSettings
) -> tuple[float, float, float, float]:
    """Return SNR and time of a gap: alone, guided."""
    gap = (start, start + settings.gap_samples)
    damaged = signal.copy()
    damaged[slice(*gap), 0] = 0.0
    snr_db, ms = [], []
    for heard, where in ((damaged[:, 0], gap), (damaged, (*gap, (0,)))):
        begin_s = time.process_time()
        whole = fill(heard, [where], settings.sample_rate, method, settings.quality)
        ms.append(1000 * (time.process_time() - begin_s))
        assert whole.ndim == 1 or np.array_equal(whole[:, 1:], signal[:, 1:])
        first = whole.reshape(len(whole), -1)[:, 0]
        snr_db.append(metrics.snr_db(signal[slice(*gap), 0], first[slice(*gap)]))
    return snr_db[0], snr_db[1], ms[0], ms[1]


def result_table(gaps: Sequence[GuidedGap], settings: Sequence[InpaintSettings]) -> Table:
    """Return SNR and time by method, length and clip."""
    first = settings[0]
    table = Table(
        f"{counted(len(gaps), 'gap')} of the first channel, {first.sample_rate} Hz, "
        f"quality {first.quality}",
        _HEADINGS,
        left=(0, 1, 2),
    )
    for method in first.methods:
        for each in settings:
            of = [g for g in gaps if (g.method, g.gap_ms) == (method, each.gap_ms)]
            clips = dict.fromkeys(gap.clip for gap in of)
            for clip in clips:
                _add_row(table, [gap for gap in of if gap.clip == clip], clip)
            if len(clips) > 1:
                _add_row(table, of, "all")
    return table


def _add_row(table: Table, gaps: Sequence[GuidedGap], clip: str) -> None:
    gains = np.array([gap.guided_db - gap.alone_db for gap in gaps])
    over = mean_interval(gains.tolist(), [gap.clip for gap in gaps])
    alone, guided, alone_ms, guided_ms = (
        float(np.mean([getattr(gap, name) for gap in gaps]))
        for name in ("alone_db", "guided_db", "alone_ms", "guided_ms")
    )
    whole = clip == "all"
    table.add(
        gaps[0].method,
        f"{gaps[0].gap_ms:g} ms",
        clip,
        "" if whole else f"{gaps[0].likeness:.2f}",
        f"{alone:.2f}",
        f"{guided:.2f}",
        f"{gains.mean():+.2f}",
        over.interval("+.2f") if whole else "",
        str(int((gains < -_AUDIBLE_DB).sum())),
        str(int((gains > _AUDIBLE_DB).sum())),
        f"{alone_ms:.0f}",
        f"{guided_ms:.0f}",
    )
