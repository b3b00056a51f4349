"""Share of streams under losses that are taken for speech: ``plc bench detect content``.

A stream hears received samples alone. What its network takes them for is asked when a burst begins,
as the engine asks, but without its rehearsals, and each clip counts once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from plc.files.fill.signal_background import Background
from plc.notice import counted
from plc_bench.base.compare import mean_interval
from plc_bench.base.corpus import Clip, Samples
from plc_bench.base.tables import Table
from plc_bench.quality.conditions import Condition
from plc_bench.quality.stream import read_stream
from plc_bench.scores.metrics import Mask

FIRST_S = 0.6
"""Bursts that begin earlier do not count: hardly anything was heard."""
SAMPLE_RATE = 48_000
"""In Hz; clips are resampled by the command."""


@dataclass(frozen=True, slots=True)
class ClipTold:
    """One clip under one condition.

    Attributes
    ----------
    bursts : int, bursts that count
    speech : int
        Those at whose beginning it was taken for speech.
    """

    clip: str
    domain: str
    condition: str
    bursts: int
    speech: int


def hear(
    background: Background, signal: Samples, trace: Mask, packet_samples: int
) -> Iterator[int]:
    """Let a background hear a stream; yield each packet's number before its turn.

    Parameters
    ----------
    signal : float32, shape (n, channels), the stream
    trace : bool, shape (packets,), True = lost
    """
    rows = signal.T
    for k, lost in enumerate(trace):
        yield k
        if lost:
            background.interrupt()
        else:
            background.listen(rows[:, k * packet_samples : (k + 1) * packet_samples])


def score_clip(
    clip: Clip, conditions: Sequence[Condition], sample_rate: int = SAMPLE_RATE
) -> list[ClipTold]:
    """Return a clip's bursts under each condition."""
    told = []
    for condition in conditions:
        stream = read_stream(clip.path, condition, sample_rate, 0)
        first = FIRST_S * sample_rate / stream.packet_samples
        background = Background(stream.signal.shape[1], sample_rate, 0)
        begins = stream.trace & ~np.append(False, stream.trace[:-1])
        taken = [
            background.content == "speech"
            for k in hear(background, stream.signal, stream.trace, stream.packet_samples)
            if begins[k] and k >= first
        ]
        told.append(ClipTold(clip.name, clip.domain, condition.title, len(taken), sum(taken)))
    return told


def told_table(told: Sequence[ClipTold]) -> Table:
    """Return the table: share of bursts taken for speech, by domain and condition."""
    table = Table(
        f"Taken for speech when a burst begins, {SAMPLE_RATE} Hz",
        ("content", "packets and losses", "clips", "bursts", "share (95 % interval)"),
        left=(0, 1),
    )
    for domain in sorted({each.domain for each in told}):
        of_domain = [each for each in told if each.domain == domain and each.bursts]
        for condition in dict.fromkeys(each.condition for each in of_domain):
            rows = [each for each in of_domain if each.condition == condition]
            shares = [each.speech / each.bursts for each in rows]
            over = mean_interval(shares)
            bursts = sum(each.bursts for each in rows)
            shown = f"{over.mean:.3f} ({over.interval('.3f')})"
            table.add(domain, condition, counted(len(rows), "clip"), bursts, shown)
    return table
