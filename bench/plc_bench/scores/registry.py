"""Metrics by name, over all losses or one class of bursts.

A name is a metric, such as ``lsd``, or a metric and a class of bursts, such as ``lsd_single``: the
same metric over the losses of that class alone. What a class is follows from the trace:

==========  =====================================================
``single``  bursts of one packet
``30ms``    bursts of 30 ms or more, however many packets that is
==========  =====================================================

PLCMOS, DNSMOS, Distill-MOS, PESQ, STOI and ViSQOL for speech judge a whole clip of speech; of one
whose domain is music or instruments they are not defined.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plc.engine.loss import bursts_of
from plc.errors import ConfigError
from plc_bench.base.corpus import resample
from plc_bench.scores import distilled, frechet, metrics, peaq, similarity, speech
from plc_bench.scores.metrics import Mask, Signal

# From here on a concealer must invent: linear prediction of music holds about 20 to 40 ms.
LONG_BURST_MS = 30.0
# Below it listeners call speech poor or bad; the share of such clips tells systems apart.
BAD, BAD_PLCMOS = "plcmos-bad", 2.5
# Domains in which the scores of speech mean nothing.
MUSIC_DOMAINS = frozenset({"music", "instruments"})


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric as it is asked for on the command line.

    Attributes
    ----------
    label : str
        Its heading in a table.
    lower_is_better : bool or None
        Direction; None for a metric that only explains others.
    digits : int, decimals worth printing
    score : callable
        ``(reference, estimate, lost, sample_rate) -> float``.
    of_bursts : bool
        Whether it looks at the losses alone, so that it can be taken of one class of them.
    of_speech : bool
        Whether it judges speech only.
    """

    label: str
    lower_is_better: bool | None
    digits: int
    score: Callable[[Signal, Signal, Mask, int], float]
    of_bursts: bool = True
    of_speech: bool = False


def _nmse(reference: Signal, estimate: Signal, lost: Mask, sample_rate: int) -> float:
    return metrics.nmse_db(reference, estimate, lost)


def _sdr(reference: Signal, estimate: Signal, lost: Mask, sample_rate: int) -> float:
    return metrics.sdr_db(reference, estimate, lost)


def _level(reference: Signal, estimate: Signal, lost: Mask, sample_rate: int) -> float:
    return metrics.fill_level_db(reference, estimate, lost)


def _zero_runs(reference: Signal, estimate: Signal, lost: Mask, sample_rate: int) -> float:
    return float(metrics.zero_runs(estimate))


def _plcmos(reference: Signal, estimate: Signal, lost: Mask, sample_rate: int) -> float:
    return speech.plcmos(_as_speech(estimate, sample_rate))


def _bad(reference: Signal, estimate: Signal, lost: Mask, sample_rate: int) -> float:
    return 100.0 * (_plcmos(reference, estimate, lost, sample_rate) < BAD_PLCMOS)


def _dnsmos(reference: Signal, estimate: Signal, lost: Mask, sample_rate: int) -> float:
    return speech.dnsmos(_as_speech(estimate, sample_rate))


def _distillmos(reference: Signal, estimate: Signal, lost: Mask, sample_rate: int) -> float:
    return distilled.distillmos(_as_speech(estimate, sample_rate))


def _pesq(reference: Signal, estimate: Signal, lost: Mask, sample_rate: int) -> float:
    return speech.pesq_wb(_as_speech(reference, sample_rate), _as_speech(estimate, sample_rate))


def _stoi(reference: Signal, estimate: Signal, lost: Mask, sample_rate: int) -> float:
    return speech.stoi(_as_speech(reference, sample_rate), _as_speech(estimate, sample_rate))


def _visqol(reference: Signal, estimate: Signal, lost: Mask, sample_rate: int) -> float:
    return similarity.visqol_speech(
        _as_speech(reference, sample_rate), _as_speech(estimate, sample_rate)
    )


def _visqol_audio(reference: Signal, estimate: Signal, lost: Mask, sample_rate: int) -> float:
    rate = similarity.AUDIO_RATE
    return similarity.visqol_audio(
        _mono(reference, sample_rate, rate), _mono(estimate, sample_rate, rate)
    )


def _peaq(reference: Signal, estimate: Signal, lost: Mask, sample_rate: int) -> float:
    rate = peaq.SAMPLE_RATE
    return peaq.grade(_at(reference, sample_rate, rate), _at(estimate, sample_rate, rate))


def _fad(reference: Signal, estimate: Signal, lost: Mask, sample_rate: int) -> float:
    return frechet.fad_notes(reference, estimate, sample_rate)


METRICS = {
    "nmse": Metric("NMSE dB", True, 2, _nmse),
    "sdr": Metric("SDR dB", False, 2, _sdr),
    "lsd": Metric("LSD dB", True, 2, metrics.lsd_db),
    "mel": Metric("mel SC", True, 3, metrics.mel_spectral_convergence),
    "level": Metric("level dB", None, 1, _level),
    "click": Metric("click", True, 2, metrics.click_ratio),
    "zeros": Metric("zero runs", True, 1, _zero_runs, of_bursts=False),
    "fad": Metric("FAD notes", True, 4, _fad, of_bursts=False),
    "plcmos": Metric("PLCMOS", False, 2, _plcmos, of_bursts=False, of_speech=True),
    BAD: Metric(f"PLCMOS < {BAD_PLCMOS:g}, %", True, 0, _bad, of_bursts=False, of_speech=True),
    "dnsmos": Metric("DNSMOS", False, 2, _dnsmos, of_bursts=False, of_speech=True),
    "distillmos": Metric("Distill-MOS", False, 2, _distillmos, of_bursts=False, of_speech=True),
    "pesq": Metric("PESQ", False, 2, _pesq, of_bursts=False, of_speech=True),
    "stoi": Metric("STOI", False, 3, _stoi, of_bursts=False, of_speech=True),
    "visqol": Metric("ViSQOL speech", False, 2, _visqol, of_bursts=False, of_speech=True),
    "visqol-audio": Metric("ViSQOL audio", False, 2, _visqol_audio, of_bursts=False),
    "peaq": Metric("PEAQ", False, 2, _peaq, of_bursts=False),
}

BURST_CLASSES = {"single": "single packets", "30ms": f"{LONG_BURST_MS:g} ms and more"}
"""Name to heading."""


def metric(name: str) -> Metric:
    """Return the metric of a name; a class of bursts is allowed.

    Raises
    ------
    ConfigError
        If there is none.
    """
    base, underscore, burst_class = name.partition("_")
    found = METRICS.get(base)
    known_class = not underscore or burst_class in BURST_CLASSES
    if found is None or not known_class or (underscore and not found.of_bursts):
        of_bursts = " ".join(key for key, value in METRICS.items() if value.of_bursts)
        raise ConfigError(
            f"unknown metric {name or '(none given)'}; there are {', '.join(METRICS)}, and "
            f"{of_bursts} with _{' or _'.join(BURST_CLASSES)} behind it"
        )
    return found


def label(name: str) -> str:
    """Return the heading of a metric's name: ``LSD dB, single packets``."""
    burst_class = name.partition("_")[2]
    heading = metric(name).label
    return f"{heading}, {BURST_CLASSES[burst_class]}" if burst_class else heading


def with_bad(names: Sequence[str]) -> tuple[str, ...]:
    """Return metrics with the share of bad clips behind PLCMOS, whose mean hides it."""
    behind = (BAD,) * (BAD not in names)
    return tuple(one for name in names for one in (name, *behind * (name == "plcmos")))


def check_metrics(names: Iterable[str]) -> None:
    """Raise a :class:`~plc.errors.ConfigError` unless there are metrics, all of them known."""
    for name in list(names) or [""]:
        metric(name)


def burst_lengths(trace: Mask) -> NDArray[np.int64]:
    """Return the length of each packet's burst; 0 for a received packet.

    Parameters
    ----------
    trace : bool, shape (packets,), True = lost

    Returns
    -------
    int64, shape (packets,)
        In packets.
    """
    lengths = np.zeros(trace.size, np.int64)
    for begin, end in bursts_of(trace):
        lengths[begin:end] = end - begin
    return lengths


def lost_by_class(trace: Mask, packet_samples: int, sample_rate: int) -> Mapping[str, Mask]:
    """Return which samples are lost, by the class of their burst; "" is all of them.

    Parameters
    ----------
    trace : bool, shape (packets,), True = lost
    packet_samples, sample_rate : int
        Of the stream, which has as many samples as the trace's packets.
    """
    lengths = burst_lengths(trace)
    packet_ms = 1000 * packet_samples / sample_rate
    packets = {
        "": trace,
        "single": lengths == 1,
        # A packet of 7.5 ms times four is 30 ms, whatever its samples were rounded to.
        "30ms": lengths * packet_ms >= LONG_BURST_MS - packet_ms / 100,
    }
    return {name: np.repeat(lost, packet_samples) for name, lost in packets.items()}


@dataclass(slots=True)
class Comparison:
    """A reference and an estimate; spectra are computed once for all classes.

    Attributes
    ----------
    reference, estimate : float, shape (n, channels)
        The original and the concealed signal.
    lost : bool, shape (n,), all lost samples
    sample_rate : int, in Hz
    domain : str
        Of the clip; a score of speech is NaN where it is one of :data:`MUSIC_DOMAINS`.
    """

    reference: Signal
    estimate: Signal
    lost: Mask
    sample_rate: int
    domain: str = ""
    _distances: tuple[NDArray[np.float64], NDArray[np.intp]] | None = None
    _mel: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.intp]] | None = None

    def score(self, name: str, mask: Mask) -> float:
        """Return one metric over the lost samples in ``mask``."""
        one = metric(name)
        if one.of_speech and self.domain in MUSIC_DOMAINS:
            return math.nan
        if one is METRICS["lsd"]:
            return self._lsd(mask)
        if one is METRICS["mel"]:
            return self._mel_convergence(mask)
        return one.score(self.reference, self.estimate, mask, self.sample_rate)

    def _lsd(self, mask: Mask) -> float:
        if self._distances is None:
            self._distances = metrics.spectral_distances_db(
                self.reference, self.estimate, self.lost, self.sample_rate
            )
        distances, starts = self._distances
        chosen = distances[..., self._touching(mask, starts)]
        return float(chosen.mean()) if chosen.size else math.nan

    def _mel_convergence(self, mask: Mask) -> float:
        if self._mel is None:
            self._mel = metrics.mel_energies(
                self.reference, self.estimate, self.lost, self.sample_rate
            )
        errors, energies, starts = self._mel
        chosen = self._touching(mask, starts)
        energy = float(energies[..., chosen].sum())
        return math.sqrt(float(errors[..., chosen].sum()) / energy) if energy > 0.0 else math.nan

    def _touching(self, mask: Mask, starts: NDArray[np.intp]) -> Mask:
        """Return which frames hold a sample of ``mask``."""
        inside, _ = metrics.frames_touching(mask, self.sample_rate)
        return np.isin(starts, inside)


def score(
    names: Iterable[str], comparison: Comparison, lost: Mapping[str, Mask]
) -> dict[str, float]:
    """Return the scores of one way of playing a stream, by metric.

    Parameters
    ----------
    names : iterable of str, metrics
    comparison : Comparison
        The original and the concealed signal.
    lost : mapping from str to bool, shape (n,), as :func:`lost_by_class` returns it
    """
    return {name: comparison.score(name, lost[name.partition("_")[2]]) for name in names}


def _as_speech(signal: Signal, sample_rate: int) -> NDArray[np.float32]:
    """Mix to mono at the sample rate of speech metrics."""
    return _mono(signal, sample_rate, speech.SPEECH_RATE)


def _mono(signal: Signal, sample_rate: int, wanted: int) -> NDArray[np.float32]:
    """Mix to mono at another sample rate."""
    return _at(np.asarray(signal, np.float32).mean(axis=1), sample_rate, wanted)


def _at(signal: Signal, sample_rate: int, wanted: int) -> NDArray[np.float32]:
    """Return a signal at another sample rate."""
    samples = np.asarray(signal, np.float32)
    return samples if sample_rate == wanted else resample(samples, sample_rate, wanted)
