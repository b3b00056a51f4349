"""Fit of the models of :mod:`plc.predict.content`, which distinguish speech from music.

    plc train content --data CORPUS --data DEBIAN

For files, random places of every clip are analysed with contexts of 8 s, 1 s and 128 ms on either
side, as gaps are; also at 8 kHz, with the full band and with a telephone's. For streams, the clip
is three streams that lose a tenth to more than half of their packets, and the moments are random,
early ones more frequent. Speech has half of the weight, music and instruments the other half;
within each, libraries have equal weights. The errors are mean distances of the probability from the
truth, on the validation split. Files have a logistic regression, streams a small network: a
regression on what heavy losses leave takes more music for speech (docs/notebook.md).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from plc.audio.loss import GilbertElliott
from plc.engine.background import Background
from plc.errors import ConfigError
from plc.predict.content import NARROW_RATE, expanded, features, logistic, probability
from plc_bench.base.corpus import clip_seed, resample
from plc_bench.quality.told import hear
from plc_bench.scores.metrics import GAP_RMS_MIN, rms
from plc_kernels.content import logit
from plc_kernels.stream.layout import MUSIC_RATE_SPEECH_FROM
from plc_training.data.library import Clip, find_libraries, read_samples
from plc_training.train.display import Display, decode_shown

RATE = 16_000
REACHES_S = (8.0, 1.0, 0.128)
_GAP_S = 0.064
# Of streams: packets in ms with the share that is lost and the mean burst, of which each clip has
# three; the most that is heard of a clip, the time of the earliest moment, moments for each place.
_LOSSES = (
    (20.0, GilbertElliott(0.1, 1.5)),
    (20.0, GilbertElliott(0.33, 2.5)),
    (10.0, GilbertElliott(0.45, 4.0)),
    (20.0, GilbertElliott(0.55, 3.0)),
    (10.0, GilbertElliott(0.33, 2.5)),
    (20.0, GilbertElliott(0.45, 4.0)),
)
_STREAMS = 3
_LONGEST_S = 60.0
_FIRST_S = 0.3
_MOMENTS = 7
# Of the networks for streams.
_HIDDEN, _MEMBERS = 12, 3
_STEPS, _BATCH, _RATE, _DECAY = 2000, 4096, 2e-2, 0.1
_DOMAINS = ("music", "instruments", "speech")
# Band of a telephone, in Hz.
_TELEPHONE_HZ = 300.0, 3400.0
_PENALTY = 1e-4
_NEWTON_STEPS = 50


@dataclass(frozen=True, slots=True)
class Group:
    """A domain of a library, in one split: the unit of weighting."""

    library: int
    domain: str
    split: str


@dataclass(frozen=True, slots=True)
class Heard:
    """Feature rows, and the group of each row."""

    rows: list[NDArray[np.float64]] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)

    def add(self, rows: list[NDArray[np.float64]], group: Group) -> None:
        """Add the rows of a clip."""
        self.rows.extend(rows)
        self.groups.extend([group] * len(rows))


def examples(
    clip: NDArray[np.float32], sample_rate: int, places: int, rng: np.random.Generator
) -> Iterator[list[NDArray[np.float64]]]:
    """Yield features of random places, one row for each context length."""
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
    """Return a clip limited to 300 to 3400 Hz."""
    spectrum = np.fft.rfft(clip)
    hz = np.fft.rfftfreq(clip.size, 1.0 / sample_rate)
    spectrum[(hz < _TELEPHONE_HZ[0]) | (hz > _TELEPHONE_HZ[1])] = 0.0
    return np.fft.irfft(spectrum, clip.size).astype(np.float32)


def moments(
    clip: NDArray[np.float32], number: int, places: int, rng: np.random.Generator
) -> Iterator[NDArray[np.float64]]:
    """Yield features of random moments of a clip, played as streams.

    Parameters
    ----------
    clip : float32, shape (n,)
        At :data:`RATE`.
    number : int
        Of the clip; chooses its losses.
    places : int
        A stream has :data:`_MOMENTS` times as many moments, early ones more likely.
    rng : numpy.random.Generator
        Draws losses, moments and the part that is heard of a long clip.
    """
    longest = round(_LONGEST_S * RATE)
    begin = int(rng.integers(max(1, clip.size - longest + 1)))
    part = clip[begin : begin + longest]
    for stream in range(_STREAMS):
        packet_ms, model = _LOSSES[(number + stream) % len(_LOSSES)]
        packet = round(packet_ms * RATE / 1000.0)
        packets = part.size // packet
        first = round(_FIRST_S * RATE / packet)
        if packets <= first:
            continue
        trace = model.trace(packets, int(rng.integers(1 << 32)))
        times = np.exp(rng.uniform(np.log(first), np.log(packets), places * _MOMENTS))
        drawn = set(times.astype(int).tolist())
        background = Background(1, RATE, 0)
        for k in hear(background, part[:, None], trace, packet):
            if k in drawn and background.features is not None:
                yield background.features.copy()


def fitted(
    found: NDArray[np.float64], speech: NDArray[np.bool_], share: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Fit a weighted logistic regression by Newton's method.

    Parameters
    ----------
    found : float64, shape (n, features)
        Features.
    speech : bool, shape (n,)
        Whether a row is of speech.
    share : float64, shape (n,)
        Weight of each row; the sum is 1.

    Returns
    -------
    float64, shape (3, 2 features + 1)
        In the form of :data:`plc.predict.content.MODEL`.
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


def trained(
    found: NDArray[np.float64], speech: NDArray[np.bool_], share: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Train the network for streams on rows drawn by their weights.

    It is the mean of three that differ in their first weights: voices that none has heard are
    judged more evenly.

    Parameters
    ----------
    found, speech, share
        As for :func:`fitted`.

    Returns
    -------
    float64, shape (units + 1, features + 2)
        In the form of :data:`plc_kernels.content.STREAM_MODEL`.
    """
    members = [_member(found, speech, share, seed) for seed in range(_MEMBERS)]
    units = np.vstack([member[:-1] for member in members])
    units[:, -1] /= _MEMBERS
    return np.vstack([units, np.mean([member[-1] for member in members], axis=0)])


def _member(
    found: NDArray[np.float64], speech: NDArray[np.bool_], share: NDArray[np.float64], seed: int
) -> NDArray[np.float64]:
    torch.manual_seed(seed)
    rng = np.random.default_rng(0)
    means, deviations = found.mean(axis=0), found.std(axis=0) + 1e-9
    given = torch.from_numpy(((found - means) / deviations).astype(np.float32))
    wanted = torch.from_numpy(speech.astype(np.float32))
    into, out = nn.Linear(found.shape[1], _HIDDEN), nn.Linear(_HIDDEN, 1)
    network = nn.Sequential(into, nn.Softsign(), out)
    optimizer = torch.optim.AdamW(network.parameters(), _RATE / 2, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, _STEPS)
    reached = np.cumsum(share)
    for _ in range(_STEPS):
        drawn = np.searchsorted(reached, rng.random(_BATCH) * reached[-1])
        batch = torch.from_numpy(np.minimum(drawn, share.size - 1))
        loss = nn.functional.binary_cross_entropy_with_logits(
            network(given[batch])[:, 0], wanted[batch]
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types for it
        optimizer.step()
        schedule.step()
    weights = into.weight.detach().numpy() / deviations
    biases = into.bias.detach().numpy() - weights @ means
    units = np.column_stack([weights, biases, out.weight.detach().numpy()[0]])
    last = np.append(np.zeros(found.shape[1] + 1), out.bias.detach().numpy())
    return np.vstack([units, last])


def shares(groups: list[Group]) -> NDArray[np.float64]:
    """Return the weight of each row; 0 in the validation split.

    Raises
    ------
    ConfigError
        If the training split lacks speech, or holds nothing else.
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


def fit(
    data: Sequence[Path],
    clips: int,
    places: int,
    cache: Path,
    jobs: int,
    tell: Callable[[str], None],
) -> None:
    """Fit the models for files, narrow-band files and streams.

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
    tell : callable
        Receives the models and their errors as text.

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
        for number, each in enumerate(decoded):
            seed = clip_seed(each.clip.path.name, 0)
            rng = np.random.default_rng(seed)
            samples = read_samples(each)
            group = chosen[each.clip]
            for found in examples(samples, RATE, places, rng):
                wide.add(found, group)
            drawn = moments(samples, number, places, np.random.default_rng(seed))
            streams.add(list(drawn), group)
            at_narrow = resample(samples, RATE, NARROW_RATE)
            for clip in (at_narrow, through_a_telephone(at_narrow, NARROW_RATE)):
                for found in examples(clip, NARROW_RATE, places, rng):
                    narrow.add(found, group)
            advance()
    reaches = [f"{seconds:g} s on either side" for seconds in REACHES_S]
    regression = Method(fitted, probability)
    report(wide, reaches, 0.5, regression, tell)
    report(narrow, [f"{way}, 8 kHz" for way in reaches], 0.5, regression, tell)
    report(streams, ["in a stream"], MUSIC_RATE_SPEECH_FROM, Method(trained, _said), tell)


@dataclass(frozen=True, slots=True)
class Method:
    """A way to fit a model, and its answer."""

    fitted: Callable[
        [NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]], NDArray[np.float64]
    ]
    probability: Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]


def report(
    heard: Heard, ways: list[str], speech_from: float, method: Method, tell: Callable[[str], None]
) -> None:
    """Fit a model, and report its validation errors and its numbers.

    Parameters
    ----------
    heard : Heard
        Features of places, one row for each way.
    ways : list of str
        Names of the ways in which each place was heard.
    speech_from : float
        Probability from which a place counts as speech.
    method : Method
        Fits the model.
    tell : callable
        Receives lines of text.

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
    model = method.fitted(found[train], speech[train], share[train])
    said = method.probability(model, found)
    way = np.arange(len(groups)) % len(ways)
    for domain in _DOMAINS:
        of_it = np.array([group.domain == domain for group in groups])
        for number, name in enumerate(ways):
            members = ~train & of_it & (way == number)
            if members.any():
                error = float(np.abs(said[members] - speech[members]).mean())
                taken = float((said[members] > speech_from).mean())
                tell(f"{domain}, {name}: {error:.3f} from the truth, {taken:.0%} speech")
    tell(np.array2string(model, separator=", ", precision=5, max_line_width=100))


def _said(model: NDArray[np.float64], found: NDArray[np.float64]) -> NDArray[np.float64]:
    return logistic(np.array([logit(model, row) for row in found]))


def _drawn(data: Sequence[Path], clips: int) -> dict[Clip, Group]:
    """Return at most ``clips`` random clips of each group."""
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
