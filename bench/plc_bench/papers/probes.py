"""Test signals for a context encoder: pure tones and chirps.

A gap of 64 ms lies in the middle of 320 ms, as in the paper's segments. The settings are those of
the notebooks that the paper's authors published:

``tones``
    100 of the notebooks' 800 frequencies from 10^1.3 to 10^3.9 Hz at two of their ten phases: the
    error over frequency. The same on the notes of the scale from A4 to A5 and halfway between
    them: a network that was trained on notes knows those of the scale better (section 5 of the
    paper).
``chirp``
    Five tones that rise by 500 Hz within the segment: figure 3. Linear prediction from either side
    meets in the middle at two frequencies.

Each fill has an SNR_MS. As in the notebooks, the magnitudes of the network have another before
any phase is made, over all eleven frames that touch the gap.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from plc.engine.models.catalogue import find
from plc.engine.networks.encoder import (
    CONTEXT_SAMPLES,
    GAP_FRAMES,
    GAP_SAMPLES,
    HOP_SAMPLES,
    SAMPLE_RATE,
    TOUCHING,
    WINDOW_SAMPLES,
    ContextEncoder,
)
from plc.errors import ConfigError, unknown
from plc_bench.base.compare import summarise
from plc_bench.base.corpus import Samples
from plc_bench.base.tables import Table
from plc_bench.base.workers import score_clips
from plc_bench.gaps.twosided import InpaintSettings, filled
from plc_bench.papers.context_encoder import BEFORE_PHASE, REFERENCE, opened_encoder, with_fill
from plc_bench.scores import metrics

CHIRP = "chirp"
PROBES = ("tones", CHIRP)
SEGMENT_SAMPLES = 2 * CONTEXT_SAMPLES + GAP_SAMPLES
GAP = (CONTEXT_SAMPLES, CONTEXT_SAMPLES + GAP_SAMPLES)
TONES, PHASES = 100, 2
"""Frequencies of the sweep, and phases of each tone."""
OVER_FREQUENCY, ON_NOTES, BETWEEN_NOTES = "over frequency", "on notes", "between notes"
# Of the notebooks: amplitude, and powers of ten of the lowest and the highest frequency in Hz.
_AMPLITUDE = 0.1
_LOWEST, _HIGHEST = 1.3, 3.9
A4_HZ = 440.0
_SEMITONES = 12
_CHIRPS = 5
_STEP_HZ = 500.0
# In dB, before any phase is made: the notebooks' networks for instruments and for music.
PUBLISHED_TONES = {"magnitude, instruments": 29.3, "complex, instruments": 21.6,
                   "complex, music": 13.7}  # fmt: skip
PUBLISHED_CHIRP = {"magnitude, music": 1.51, REFERENCE: -1.32}


class Tone(NamedTuple):
    """A frequency in Hz, and its place among the training frequencies."""

    place: str
    frequency_hz: float


@dataclass(frozen=True, slots=True)
class ProbeScore:
    """A probe filled by every method; of tones the means over the phases.

    Attributes
    ----------
    probe : str
        ``chirp``, or the place of the tone.
    frequency_hz : float
        Of the tone; 0 of the chirp.
    snr_ms_db : dict, by method
    """

    probe: str
    frequency_hz: float
    snr_ms_db: dict[str, float]


def probe_tones(tones: int = TONES) -> list[Tone]:
    """Return the tones: ``tones`` over frequency, then the scale."""
    sweep = np.logspace(_LOWEST, _HIGHEST, tones)
    halves = A4_HZ * 2.0 ** (np.arange(2 * _SEMITONES + 1) / (2 * _SEMITONES))
    return [
        *(Tone(OVER_FREQUENCY, float(f)) for f in sweep),
        *(Tone(BETWEEN_NOTES if k % 2 else ON_NOTES, float(f)) for k, f in enumerate(halves)),
    ]


def tone(frequency_hz: float, phase: float) -> Samples:
    """Return a segment of a pure tone, float32, shape (5120,)."""
    t = np.arange(SEGMENT_SAMPLES) / SAMPLE_RATE
    return (_AMPLITUDE * np.sin(2.0 * np.pi * frequency_hz * t + phase)).astype(np.float32)


def chirp() -> Samples:
    """Return the segment of five chirps: float32, shape (5120,)."""
    t = np.arange(SEGMENT_SAMPLES) / SAMPLE_RATE
    slope = _STEP_HZ * SAMPLE_RATE / SEGMENT_SAMPLES
    starts = _STEP_HZ * (3.0 * np.arange(_CHIRPS) + 1.0)
    cycles = starts[:, None] * t + 0.5 * slope * t**2
    made: Samples = np.cos(2.0 * np.pi * cycles).sum(axis=0).astype(np.float32)
    return made


def measure_probes(
    probes: Sequence[str],
    models: Sequence[str],
    jobs: int = 1,
    on_done: Callable[[], None] = lambda: None,
) -> list[ProbeScore]:
    """Return the scores of the probes, in their order.

    Parameters
    ----------
    probes : sequence of str, of :data:`PROBES`
    models : sequence of str
        As :func:`plc.engine.models.catalogue.find` takes them.

    Raises
    ------
    ConfigError
        If a probe is unknown.
    MissingExtraError, ModelError
        If a model cannot be opened.
    """
    check_probes(probes)
    for model in models:
        opened_encoder(model)
    scores = (
        [ProbeScore(CHIRP, 0.0, _scores(chirp(), _encoders(models)))] if CHIRP in probes else []
    )
    if "tones" in probes:
        score = partial(_score_tone, models=tuple(models), phases=PHASES)
        outcome = score_clips(score, probe_tones(TONES), jobs, on_done, str)
        for failed in outcome.failures:
            raise ConfigError(f"{failed.clip} cannot be scored: {failed.reason}")
        scores += outcome.results
    return scores


def check_probes(probes: Sequence[str]) -> None:
    """Refuse unknown probes."""
    for name in probes:
        if name not in PROBES:
            raise ConfigError(unknown("probe", name, PROBES))


def result_tables(scores: Sequence[ProbeScore]) -> list[Table]:
    """Return tables of the chirps and the tones that were scored."""
    tones = [score for score in scores if score.probe != CHIRP]
    chirps = [_chirp_table(score) for score in scores if score.probe == CHIRP]
    return [*chirps, *([_tone_table(tones)] if tones else [])]


def _tone_table(scores: Sequence[ProbeScore]) -> Table:
    """Return the mean SNR of tones in dB by place."""
    places = [p for p in (OVER_FREQUENCY, ON_NOTES, BETWEEN_NOTES) if _of(scores, p)]
    heads = [f"{place} ({len(_of(scores, place))})" for place in places]
    title = "pure tones: SNR_MS in dB, mean and standard deviation over tones"
    table = Table(title, ("method", *heads))
    for method in scores[-1].snr_ms_db:
        cells = [summarise([s.snr_ms_db[method] for s in _of(scores, p)]) for p in places]
        table.add(method, *(f"{cell.mean:.2f} ± {cell.std:.1f}" for cell in cells))
    for name, value in PUBLISHED_TONES.items():
        rest = [""] * (len(places) - 1)
        table.add(f"authors, {name}: {BEFORE_PHASE}", f"{value:.1f}", *rest)
    return table


def _chirp_table(score: ProbeScore) -> Table:
    """Return the SNR of the chirps in dB."""
    table = Table("five chirps: SNR_MS in dB", ("method", "64 ms"))
    published = {f"authors, {name}": value for name, value in PUBLISHED_CHIRP.items()}
    for method, value in (score.snr_ms_db | published).items():
        table.add(method, f"{value:.2f}")
    return table


def _score_tone(tone_of: Tone, models: tuple[str, ...], phases: int) -> ProbeScore:
    encoders = _encoders(models)
    each = [
        _scores(tone(tone_of.frequency_hz, 2.0 * np.pi * k / phases), encoders)
        for k in range(phases)
    ]
    means = {name: float(np.mean([scores[name] for scores in each])) for name in each[0]}
    return ProbeScore(tone_of.place, tone_of.frequency_hz, means)


def _encoders(models: Sequence[str]) -> dict[str, ContextEncoder]:
    return {find(model).name: opened_encoder(model) for model in models}


def _fills(signal: Samples, encoders: Mapping[str, ContextEncoder]) -> dict[str, Samples]:
    paper = InpaintSettings(context="paper")
    return {REFERENCE: filled(signal, *GAP, REFERENCE, paper)} | {
        name: with_fill(signal, GAP, encoder.fill(signal, GAP))
        for name, encoder in encoders.items()
    }


def _scores(signal: Samples, encoders: Mapping[str, ContextEncoder]) -> dict[str, float]:
    scores = {
        name: metrics.snr_ms_db(signal, fill, GAP)
        for name, fill in _fills(signal, encoders).items()
    }
    starts = GAP[0] + HOP_SAMPLES * (np.arange(GAP_FRAMES) - TOUCHING)
    truth = metrics.magnitudes(signal, starts, WINDOW_SAMPLES)
    for name, encoder in encoders.items():
        answer = np.abs(encoder.spectra(signal, GAP))
        scores[f"{name}: {BEFORE_PHASE}"] = metrics.snr_db(truth, answer.reshape(truth.shape))
    return scores


def _of(scores: Sequence[ProbeScore], place: str) -> list[ProbeScore]:
    return [score for score in scores if score.probe == place]
