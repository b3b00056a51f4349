"""Fit :data:`plc.predict.content.MODEL` and its like, which tell speech from music.

    plc train content --data CORPUS --data DEBIAN

For files, a few places are drawn from every clip, each heard with 8 s, 1 s and 128 ms on either
side, as a gap is; at 8 kHz, too, whole and as a telephone lets it through. For streams, the clip is
heard as a stream that loses every tenth packet, and a few moments are drawn, early ones more often.
Speech counts half and music and instruments the other, within each of them the libraries alike.
Printed are the models and, for the clips that validate, how far the probability is from the truth.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plc.engine.background import SPEECH_FROM, Background
from plc.errors import ConfigError
from plc.predict.content import NARROW_RATE, expanded, features, logistic, probability
from plc_bench.base.corpus import clip_seed, resample
from plc_bench.scores.metrics import GAP_RMS_MIN, rms
from plc_training.data.library import Clip, find_libraries, read_samples
from plc_training.train.display import Display, decode_shown

RATE = 16_000
REACHES_S = (8.0, 1.0, 0.128)
_GAP_S = 0.064
# Of streams: packets, the share that is lost, and when the first moment may be drawn.
_PACKET = round(0.02 * RATE)
_LOSS = 0.1
_FIRST_S = 0.6
_DOMAINS = ("music", "instruments", "speech")
# What a telephone lets through, in Hz.
_TELEPHONE_HZ = 300.0, 3400.0
_PENALTY = 1e-4
_NEWTON_STEPS = 50


@dataclass(frozen=True, slots=True)
class Group:
    """What counts as one: a domain of a library."""

    library: int
    domain: str
    split: str


@dataclass(frozen=True, slots=True)
class Heard:
    """Features, and the group of each."""

    rows: list[NDArray[np.float64]] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)

    def add(self, rows: list[NDArray[np.float64]], group: Group) -> None:
        """Add features of a clip."""
        self.rows.extend(rows)
        self.groups.extend([group] * len(rows))


def examples(
    clip: NDArray[np.float32], sample_rate: int, places: int, rng: np.random.Generator
) -> Iterator[list[NDArray[np.float64]]]:
    """Yield the features of places in a clip, for each reach."""
    edge = round(REACHES_S[-1] * sample_rate)
    gap = round(_GAP_S * sample_rate)
    for _ in range(places if clip.size > 2 * edge + gap else 0):
        start = int(rng.integers(edge, clip.size - edge - gap))
        stop = start + gap
        if rms(clip[start:stop]) < GAP_RMS_MIN:
            continue
        found = []
        for reach_s in REACHES_S:
            reach = round(reach_s * sample_rate)
            sides = [clip[max(0, start - reach) : start], clip[stop : stop + reach]]
            made = features(sides, sample_rate)
            if made is not None:
                found.append(made)
        if len(found) == len(REACHES_S):
            yield found


def through_a_telephone(clip: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
    """Return what is left of a clip between 300 and 3400 Hz."""
    spectrum = np.fft.rfft(clip)
    hz = np.fft.rfftfreq(clip.size, 1.0 / sample_rate)
    spectrum[(hz < _TELEPHONE_HZ[0]) | (hz > _TELEPHONE_HZ[1])] = 0.0
    return np.fft.irfft(spectrum, clip.size).astype(np.float32)


def moments(
    clip: NDArray[np.float32], places: int, rng: np.random.Generator
) -> Iterator[NDArray[np.float64]]:
    """Yield the features of moments in a clip, as a stream hears it."""
    packets = clip.size // _PACKET
    first = round(_FIRST_S * RATE / _PACKET)
    if packets <= first:
        return
    drawn = set(np.exp(rng.uniform(np.log(first), np.log(packets), places)).astype(int).tolist())
    background = Background(1, RATE, 0)
    for k, lost in enumerate(rng.random(packets) < _LOSS):
        if k in drawn and background.features is not None:
            yield background.features.copy()
        if lost:
            background.interrupt()
        else:
            background.listen(clip[None, k * _PACKET : (k + 1) * _PACKET])


def fitted(
    found: NDArray[np.float64], speech: NDArray[np.bool_], share: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the model of a weighted logistic regression, by Newton's method.

    Parameters
    ----------
    found : float64, shape (n, features)
        Features.
    speech : bool, shape (n,)
        What they are of.
    share : float64, shape (n,)
        How much each counts; they sum to 1.

    Returns
    -------
    float64, shape (3, 2 features + 1)
        As :data:`plc.predict.content.MODEL`.
    """
    inputs = expanded(found)
    means, deviations = inputs.mean(axis=0), inputs.std(axis=0) + 1e-9
    inputs = np.c_[(inputs - means) / deviations, np.ones(len(inputs))]
    weights = np.zeros(inputs.shape[1])
    penalty = _PENALTY * np.eye(weights.size)
    for _ in range(_NEWTON_STEPS):
        said = logistic(inputs @ weights)
        slope = inputs.T @ (share * (said - speech)) + penalty @ weights
        curvature = (inputs.T * (share * said * (1.0 - said))) @ inputs + penalty
        weights -= np.linalg.solve(curvature, slope)
    return np.stack([np.append(means, 0.0), np.append(deviations, 1.0), weights])


def shares(groups: list[Group]) -> NDArray[np.float64]:
    """Return how much an example of each group counts; 0 for what validates.

    Raises
    ------
    ConfigError
        If there is no speech to train with, or nothing else.
    """
    share = np.zeros(len(groups))
    kinds = {group for group in groups if group.split == "train"}
    others = {group.domain for group in kinds} - {"speech"}
    if not others or "speech" not in {group.domain for group in kinds}:
        found = sorted({group.domain for group in kinds})
        raise ConfigError(
            "expected clips of speech and of music or instruments, some seconds long, to train "
            f"with; the libraries give {', '.join(found) or 'none'}"
        )
    for group in kinds:
        members = np.array([each == group for each in groups])
        libraries = sum(other.domain == group.domain for other in kinds)
        content = 0.5 if group.domain == "speech" else 0.5 / len(others)
        share[members] = content / libraries / members.sum()
    return share


def fit(data: Sequence[Path], clips: int, places: int, cache: Path, jobs: int) -> Iterator[str]:
    """Fit the models that tell speech from music; yield them and their errors as text.

    Parameters
    ----------
    data : sequence of Path
        Libraries.
    clips : int
        Most clips of each domain of a library.
    places : int
        Places in each clip.
    cache : Path
        Folder for decoded audio.
    jobs : int
        Processes that decode.

    Raises
    ------
    ConfigError
        As for :func:`shares`.
    """
    chosen = _drawn(data, clips)
    display = Display()
    decoded = decode_shown(list(chosen), RATE, cache, jobs, display)
    wide, narrow, streams = Heard(), Heard(), Heard()
    with display.stage("listening", len(decoded)) as advance:
        for each in decoded:
            rng = np.random.default_rng(clip_seed(each.clip.path.name, 0))
            samples = read_samples(each)
            group = chosen[each.clip]
            for found in examples(samples, RATE, places, rng):
                wide.add(found, group)
            streams.add(list(moments(samples, places * len(REACHES_S), rng)), group)
            at_narrow = resample(samples, RATE, NARROW_RATE)
            for clip in (at_narrow, through_a_telephone(at_narrow, NARROW_RATE)):
                for found in examples(clip, NARROW_RATE, places, rng):
                    narrow.add(found, group)
            advance()
    reaches = [f"{seconds:g} s on either side" for seconds in REACHES_S]
    yield from report(wide, reaches, 0.5)
    yield from report(narrow, [f"{way}, 8 kHz" for way in reaches], 0.5)
    yield from report(streams, ["in a stream"], SPEECH_FROM)


def report(heard: Heard, ways: list[str], speech_from: float) -> Iterator[str]:
    """Yield the errors of a model on the validation split, and the model.

    Parameters
    ----------
    heard : Heard
        Features of places, one row for each way.
    ways : list of str
        Names of the ways in which each place was heard.
    speech_from : float
        Probability from which a place counts as speech.

    Raises
    ------
    ConfigError
        As for :func:`shares`.
    """
    groups = heard.groups
    share = shares(groups)
    found = np.array(heard.rows)
    speech = np.array([group.domain == "speech" for group in groups])
    train = share > 0.0
    model = fitted(found[train], speech[train], share[train])
    said = probability(model, found)
    way = np.arange(len(groups)) % len(ways)
    for domain in _DOMAINS:
        of_it = np.array([group.domain == domain for group in groups])
        for number, name in enumerate(ways):
            members = ~train & of_it & (way == number)
            if members.any():
                error = float(np.abs(said[members] - speech[members]).mean())
                taken = float((said[members] > speech_from).mean())
                yield f"{domain}, {name}: {error:.3f} from the truth, {taken:.0%} speech"
    yield np.array2string(model, separator=", ", precision=5, max_line_width=100)


def _drawn(data: Sequence[Path], clips: int) -> dict[Clip, Group]:
    """Return clips, as many of each group as there are to be."""
    rng = np.random.default_rng(0)
    chosen = {}
    for number, library in enumerate(find_libraries(data)):
        by_group: dict[Group, list[Clip]] = {}
        for clip in library:
            if clip.domain in _DOMAINS:
                by_group.setdefault(Group(number, clip.domain, clip.split), []).append(clip)
        for group, members in by_group.items():
            for k in rng.permutation(len(members))[:clips]:
                chosen[members[k]] = group
    return chosen
