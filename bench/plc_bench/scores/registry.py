"""Metrics by name, over all losses or one class of bursts.

A name is a metric, such as ``lsd``, or a metric and a class of bursts, such as ``lsd_single``: the
same metric over the losses of that class alone. What a class is follows from the trace:

==========  =====================================================
``single``  bursts of one packet
``30ms``    bursts of 30 ms or more, however many packets that is
``1st``     the first packet of every burst; so ``2nd``, ``3rd``
==========  =====================================================

PLCMOS, DNSMOS, Distill-MOS, PESQ, STOI, words and ViSQOL for speech judge a whole clip of speech;
of one whose domain is music or instruments they are not defined. The label of a judge that taught a
network says so; it has no part in mean ranks.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plc.engine.spans import bursts_of
from plc.errors import ConfigError
from plc_bench.base.corpus import resample
from plc_bench.scores import bands, distilled, frechet, metrics, peaq, similarity, speech
from plc_bench.scores.metrics import Mask, Signal

# From here on a concealer must invent: linear prediction of music holds about 20 to 40 ms.
LONG_BURST_MS = 30.0
# Below it listeners call speech poor or bad; the share of such clips tells systems apart.
BAD, BAD_PLCMOS = "plcmos-bad", 2.5
# Domains in which the scores of speech mean nothing.
MUSIC_DOMAINS = frozenset({"music", "instruments"})


Score = Callable[[Signal, Signal, Mask, int], float]
"""Of a reference, an estimate, which samples are lost, and the sample rate."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric as it is asked for on the command line.

    Attributes
    ----------
    lower_is_better : bool or None
        Direction; None for a metric that only explains others.
    digits : int, decimals worth printing
    of_bursts : bool
        Whether it looks at the losses alone, so that it can be taken of one class of them.
    of_speech : bool
        Whether it judges speech only.
    needs : str
        Package that brings it, where one may do without.
    taught : bool
        Whether it taught a network that is measured here.
    """

    label: str
    lower_is_better: bool | None
    digits: int
    score: Score
    of_bursts: bool = True
    of_speech: bool = False
    needs: str = ""
    taught: bool = False


def _bad(estimate: Signal) -> float:
    return 100.0 * (speech.plcmos(estimate) < BAD_PLCMOS)


def _of_speech(judge: Callable[[Signal], float]) -> Score:
    return lambda reference, estimate, lost, rate: judge(_as_speech(estimate, rate))


def _of_both(judge: Callable[[Signal, Signal], float], wanted: int = speech.SPEECH_RATE) -> Score:
    return lambda reference, estimate, lost, rate: judge(
        _mono(reference, rate, wanted), _mono(estimate, rate, wanted)
    )


def _peaq(reference: Signal, estimate: Signal, lost: Mask, sample_rate: int) -> float:
    rate = peaq.SAMPLE_RATE
    return peaq.grade(_at(reference, sample_rate, rate), _at(estimate, sample_rate, rate))


_AUDIO = similarity.AUDIO_RATE
_OF_CLIPS: dict[str, Any] = {"of_bursts": False, "of_speech": True}
_MOS: dict[str, Any] = {**_OF_CLIPS, "needs": "speechmos", "taught": True}
METRICS = {
    "nmse": Metric("NMSE dB", True, 2, lambda x, y, lost, rate: metrics.nmse_db(x, y, lost)),
    "lsd": Metric("LSD dB", True, 2, metrics.lsd_db),
    "mel": Metric("mel SC", True, 3, metrics.mel_spectral_convergence),
    "level": Metric(
        "level dB", None, 1, lambda x, y, lost, rate: metrics.fill_level_db(x, y, lost)
    ),
    "click": Metric("click", True, 2, metrics.click_ratio),
    "zeros": Metric(
        "zero runs", True, 1, lambda x, y, lost, rate: metrics.zero_runs(y), of_bursts=False
    ),
    "fad": Metric(
        "FAD notes",
        True,
        4,
        lambda x, y, lost, rate: frechet.fad_notes(x, y, rate),
        of_bursts=False,
    ),
    "bands": Metric("bands dB", True, 1, bands.distance_db),
    "bandbias": Metric("bands' bias dB", None, 1, bands.bias_db),
    "plcmos": Metric("PLCMOS", False, 2, _of_speech(speech.plcmos), **_MOS),
    BAD: Metric(f"PLCMOS < {BAD_PLCMOS:g}, %", True, 0, _of_speech(_bad), **_MOS),
    "dnsmos": Metric("DNSMOS", False, 2, _of_speech(speech.dnsmos), **_OF_CLIPS),
    "distillmos": Metric(
        "Distill-MOS", False, 2, _of_speech(distilled.distillmos), **_OF_CLIPS, needs="distillmos"
    ),
    # It taught by its outline.
    "pesq": Metric(
        "PESQ", False, 2, _of_both(speech.pesq_wb), **_OF_CLIPS, needs="pesq", taught=True
    ),
    "stoi": Metric("STOI", False, 3, _of_both(speech.stoi), **_OF_CLIPS, needs="pystoi"),
    "words": Metric(
        "words wrong, %",
        True,
        1,
        _of_both(similarity.wrong_words),
        **_OF_CLIPS,
        needs="pocketsphinx",
    ),
    "visqol": Metric("ViSQOL speech", False, 2, _of_both(similarity.visqol_speech), **_OF_CLIPS),
    "visqol-audio": Metric(
        "ViSQOL audio", False, 2, _of_both(similarity.visqol_audio, _AUDIO), of_bursts=False
    ),
    "zimtohrli": Metric(
        "Zimtohrli", False, 2, _of_both(similarity.zimtohrli, _AUDIO), of_bursts=False
    ),
    "peaq": Metric("PEAQ", False, 2, _peaq, of_bursts=False),
}

_PLACES = ("1st", "2nd", "3rd")
BURST_CLASSES = {"single": "single packets", "30ms": f"{LONG_BURST_MS:g} ms and more"}
BURST_CLASSES |= {place: f"{place} packets" for place in _PLACES}
"""Name to heading."""
SPEECH = ("plcmos", BAD, "distillmos", "stoi", "pesq", "words")
"""What the name ``speech`` stands for."""


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
    heading = f"{metric(name).label}{' (taught)' * metric(name).taught}"
    return f"{heading}, {BURST_CLASSES[burst_class]}" if burst_class else heading


def asked_for(names: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """Return the metrics that names stand for; which are left out, and why.

    Behind PLCMOS stands the share of bad clips, which its mean hides. Of ``speech`` is left out
    what needs an absent package.
    """
    absent = [name for name in SPEECH if find_spec(METRICS[name].needs) is None]
    found: list[str] = []
    for name in names:
        if name == "speech":
            found += [one for one in SPEECH if one not in absent]
        else:
            found += [name, BAD] if name == "plcmos" and BAD not in names else [name]
    packages = ", ".join(dict.fromkeys(METRICS[name].needs for name in absent))
    why = f"left out: {', '.join(absent)}; not installed: {packages}"
    return tuple(dict.fromkeys(found)), why if absent and "speech" in names else ""


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
    lengths, place = burst_lengths(trace), np.full(trace.size, -1)
    for begin, end in bursts_of(trace):
        place[begin:end] = np.arange(end - begin)
    packet_ms = 1000 * packet_samples / sample_rate
    packets = {
        "": trace,
        "single": lengths == 1,
        # A packet of 7.5 ms times four is 30 ms, whatever its samples were rounded to.
        "30ms": lengths * packet_ms >= LONG_BURST_MS - packet_ms / 100,
    } | {name: place == k for k, name in enumerate(_PLACES)}
    return {name: np.repeat(lost, packet_samples) for name, lost in packets.items()}


@dataclass(slots=True)
class Comparison:
    """A reference and an estimate; spectra are computed once for all classes.

    Attributes
    ----------
    lost : bool, shape (n,), all lost samples
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
    lost : mapping from str to bool, shape (n,), as :func:`lost_by_class` returns it
    """
    return {name: comparison.score(name, lost[name.partition("_")[2]]) for name in names}


def _as_speech(signal: Signal, sample_rate: int) -> NDArray[np.float32]:
    return _mono(signal, sample_rate, speech.SPEECH_RATE)


def _mono(signal: Signal, sample_rate: int, wanted: int) -> NDArray[np.float32]:
    return _at(np.asarray(signal, np.float32).mean(axis=1), sample_rate, wanted)


def _at(signal: Signal, sample_rate: int, wanted: int) -> NDArray[np.float32]:
    samples = np.asarray(signal, np.float32)
    return samples if sample_rate == wanted else resample(samples, sample_rate, wanted)
