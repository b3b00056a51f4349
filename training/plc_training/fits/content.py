"""Training of the network that tells speech from music (:mod:`plc_kernels.signal.content`).

    plc train fit content --data CORPUS --data DEBIAN

Every clip is heard as four streams that lose a tenth to more than half of their packets, three of
them varied: in another room, through another microphone, with noise, the last in the band of a
telephone or a narrow-band codec. The inputs are what a stream's own step takes. A sequence goes on
from clip to clip, of either content.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from plc.engine.loss import GilbertElliott
from plc.errors import ConfigError
from plc.files.fill.signal_background import Background
from plc.processor_time import usable_cores
from plc_bench.base.corpus import clip_seed
from plc_kernels.signal.content import BANDS, INPUTS, UNITS, WEIGHTS_STEP
from plc_training.data.library import Clip, find_libraries, read_samples
from plc_training.train.display import Display, decode_shown

RATE = 16_000
DOMAINS = {"speech": 0.45, "music": 0.22, "instruments": 0.33}
"""Share of the pieces of a sequence that come from each domain."""
# Packets in ms with the share that is lost and the mean burst.
_LOSSES = (
    (10, GilbertElliott(0.1, 1.1)),
    (20, GilbertElliott(0.1, 1.5)),
    (20, GilbertElliott(0.33, 2.0)),
    (20, GilbertElliott(0.45, 2.0)),
    (10, GilbertElliott(0.33, 2.5)),
    (20, GilbertElliott(0.55, 2.0)),
)
# Of each domain of a library.
_MOST_CLIPS = 2000
_STREAMS = 4
_LONGEST_S = 60.0
_STEPS, _BATCH, _FRAMES, _RATE, _DECAY = 3000, 32, 450, 4e-3, 1e-3
# Frames that count less: the first of a stream, and those after which a content has changed.
_EARLY, _EARLY_WEIGHT, _TURNING = 15, 0.15, 50
_CHANGES, _NOISE, _SMOOTH = 0.3, 0.05, 0.01
# Standard deviations, in steps of 20 dB, of a filter's tilt and of its ripple over the bands.
_TILT, _RIPPLE = 0.25, 0.5
# In Hz: where bands end that are narrower than ours, a telephone's being the narrowest, and below
# what half of them have nothing.
_HIGHEST_HZ, _LOWEST_HZ = (3400.0, 4000.0), 300.0


def fit(data: Sequence[Path], cache: Path, tell: Callable[[str], None]) -> None:
    """Train the network; report its errors and its weights, line by line.

    Parameters
    ----------
    tell : callable
        Receives, as text, the share of frames told to be speech, and the weights.

    Raises
    ------
    ConfigError
        If the training split lacks speech, or holds nothing else.
    """
    chosen = _drawn(data)
    found = {clip.domain for clip in chosen if clip.split == "train"}
    if "speech" not in found or len(found) < 2:
        raise ConfigError(
            "expected clips of speech and of music or instruments, some seconds long, to train "
            f"with; the libraries give {', '.join(sorted(found)) or 'none'}"
        )
    display = Display()
    decoded = decode_shown(chosen, RATE, cache, usable_cores(), display)
    train, valid, narrow = Streams(), Streams(), Streams()
    with display.stage("listening", len(decoded)) as advance:
        for number, each in enumerate(decoded):
            rng = np.random.default_rng(clip_seed(each.clip.path.name, 0))
            made = heard(read_samples(each), number, rng)
            domain, source = each.clip.domain, each.clip.source
            if each.clip.split == "train":
                train.add(domain, source, made)
            else:
                valid.add(domain, source, made[:-1])
                narrow.add(domain, source, made[-1:])
            advance()
    network = trained(train, tell)
    for name, heard_so in (("a stream", valid), ("a narrow band", narrow)):
        for domain, share in shares_told(network, heard_so).items():
            tell(f"{domain}, in {name}: {share:.1%} speech")
    tell(text_of(network))


def _drawn(data: Sequence[Path]) -> list[Clip]:
    rng = np.random.default_rng(0)
    chosen = []
    for library in find_libraries(data):
        groups: dict[tuple[str, str], list[Clip]] = {}
        for clip in library:
            if clip.domain in DOMAINS:
                groups.setdefault((clip.domain, clip.split), []).append(clip)
        for members in groups.values():
            chosen += [members[k] for k in rng.permutation(len(members))[:_MOST_CLIPS]]
    return chosen


@dataclass(frozen=True, slots=True)
class Streams:
    """Inputs of streams of one split: by domain and source, each of shape (frames, INPUTS)."""

    sources: dict[str, dict[str, list[NDArray[np.float32]]]] = field(default_factory=dict)

    def add(self, domain: str, source: str, heard: Sequence[NDArray[np.float32]]) -> None:
        """Add the streams of a clip."""
        kept = [each for each in heard if len(each) > _EARLY]
        if kept:
            self.sources.setdefault(domain, {}).setdefault(source, []).extend(kept)

    def drawn(self, domain: str, rng: np.random.Generator) -> NDArray[np.float32]:
        """Return a random stream: half of them by source, half by clip."""
        sources = list(self.sources[domain].values())
        if rng.random() < 0.5:
            members = sources[rng.integers(len(sources))]
        else:
            members = [each for source in sources for each in source]
        chosen: NDArray[np.float32] = members[rng.integers(len(members))]
        return chosen


def heard(
    clip: NDArray[np.float32], number: int, rng: np.random.Generator
) -> list[NDArray[np.float32]]:
    """Return the inputs that a clip's streams take of each frame.

    Parameters
    ----------
    clip : float32, shape (n,), at :data:`RATE`
    number : int
        Of the clip; chooses its losses.
    rng : numpy.random.Generator
        Draws losses, variations and the part that is heard of a long clip.

    Returns
    -------
    list of float32, shape (frames, INPUTS)
    """
    longest = round(_LONGEST_S * RATE)
    begin = int(rng.integers(max(1, clip.size - longest + 1)))
    part = clip[begin : begin + longest]
    found = []
    for stream in range(_STREAMS):
        packet_ms, model = _LOSSES[(number + stream) % len(_LOSSES)]
        packet = packet_ms * RATE // 1000
        trace = model.trace(part.size // packet, int(rng.integers(1 << 32)))
        played = _varied(part, rng) if stream else part
        if stream == _STREAMS - 1:
            played = _narrowed(played, rng)
        found.append(_inputs(played, trace, packet))
    return found


def _inputs(
    samples: NDArray[np.float32], trace: NDArray[np.bool_], packet: int
) -> NDArray[np.float32]:
    background = Background(1, RATE, 0)
    rows = []
    for k, lost in enumerate(trace):
        if lost:
            background.interrupt()
            continue
        before = background.frames
        background.listen(samples[None, k * packet : (k + 1) * packet])
        if background.frames > before:
            rows.append(background.inputs.copy())
    return np.array(rows, np.float32).reshape(-1, INPUTS)


def _narrowed(clip: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a clip as a telephone or a narrow-band codec lets it through."""
    spectrum, hz = np.fft.rfft(clip), np.fft.rfftfreq(clip.size, 1.0 / RATE)
    spectrum[hz > rng.uniform(*_HIGHEST_HZ)] = 0.0
    spectrum[hz < rng.choice([0.0, _LOWEST_HZ])] = 0.0
    return np.fft.irfft(spectrum, clip.size).astype(np.float32)


def _varied(clip: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a clip as another room, microphone and background would have it."""
    size = int(RATE * rng.uniform(0.1, 0.5))
    tail = rng.standard_normal(size) * 10.0 ** (-3.0 * np.arange(size) / size)
    tail *= rng.uniform(0.0, 0.6) / np.linalg.norm(tail)
    tail[0] = 1.0
    length = 1 << (clip.size + size).bit_length()
    wet = np.fft.irfft(np.fft.rfft(clip, length) * np.fft.rfft(tail, length), length)[: clip.size]
    wet[1:] += rng.uniform(-0.7, 0.7) * wet[:-1].copy()
    level = float(np.sqrt(np.mean(wet**2))) * 10.0 ** (-rng.uniform(20.0, 45.0) / 20.0)
    noisy: NDArray[np.float32] = wet + level * rng.standard_normal(clip.size)
    return noisy.astype(np.float32)


def _sequence(
    streams: Streams, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    inputs = np.zeros((_FRAMES, INPUTS), np.float32)
    label, weight = np.zeros((2, _FRAMES), np.float32)
    names = [name for name in DOMAINS if name in streams.sources]
    shares = np.array([DOMAINS[name] for name in names])
    ripple = np.convolve(rng.normal(0.0, _RIPPLE, BANDS + 4), np.full(5, 0.2), "valid")
    colour = rng.normal(0.0, _TILT) * np.linspace(-1.0, 1.0, BANDS) + ripple
    domain, done = "", 0
    while done < _FRAMES:
        if not domain or rng.random() < _CHANGES:
            domain = str(rng.choice(names, p=shares / shares.sum()))
        stream = streams.drawn(domain, rng)
        begin = 0 if rng.random() < 0.5 else int(rng.integers(len(stream)))
        piece = stream[begin : begin + _FRAMES - done]
        stop = done + len(piece)
        inputs[done:stop] = piece
        label[done:stop] = domain == "speech"
        weight[done:stop] = 1.0
        weight[done : done + (_TURNING if done else _EARLY)] = 0.0 if done else _EARLY_WEIGHT
        done = stop
    inputs[:, :BANDS] += colour
    return inputs, label, weight


class ContentNetwork(nn.Module):
    """The network, which gives a logit of speech for each frame: shape (batch, frames)."""

    def __init__(self) -> None:
        super().__init__()
        self.hear = nn.GRU(INPUTS, UNITS, batch_first=True)
        self.say = nn.Linear(UNITS, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of inputs of the shape (batch, frames, INPUTS)."""
        said: Tensor = self.say(self.hear(x)[0])[..., 0]
        return said

    def packed(self) -> NDArray[np.int8]:
        """Return the weights as the kernel reads them, in steps of WEIGHTS_STEP."""
        parts = [part.movedim(0, -1).flatten() for part in self.state_dict().values()]
        steps = torch.cat(parts).numpy() / WEIGHTS_STEP
        return np.clip(np.rint(steps), -127, 127).astype(np.int8)


def trained(streams: Streams, tell: Callable[[str], None]) -> ContentNetwork:
    """Train the network."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    network = ContentNetwork()
    optimizer = torch.optim.AdamW(network.parameters(), _RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, _STEPS, pct_start=0.1)
    for step in range(1, _STEPS + 1):
        drawn = zip(*(_sequence(streams, rng) for _ in range(_BATCH)), strict=True)
        inputs, label, weight = (torch.from_numpy(np.stack(each)) for each in drawn)
        said = network(inputs + _NOISE * torch.randn(inputs.shape))
        wanted = _SMOOTH + (1.0 - 2.0 * _SMOOTH) * label
        errors = nn.functional.binary_cross_entropy_with_logits(said, wanted, reduction="none")
        loss = (errors * weight).sum() / weight.sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types for it
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            tell(f"step {step} of {_STEPS}: loss {loss.item():.4f}")
    return network


def shares_told(network: ContentNetwork, streams: Streams) -> Mapping[str, float]:
    """Return by domain the share of frames that are taken for speech."""
    told = {}
    for domain, sources in streams.sources.items():
        each = [torch.from_numpy(x)[None] for source in sources.values() for x in source]
        with torch.no_grad():
            told[domain] = float(torch.cat([network(x) for x in each], 1).gt(0.0).float().mean())
    return told


def text_of(network: ContentNetwork) -> str:
    """Return the weights as :mod:`plc_kernels.signal.content` has them."""
    letters = base64.b85encode(network.packed().tobytes()).decode()
    lines = [f'    b"{letters[k : k + 90]}"' for k in range(0, len(letters), 90)]
    return "\n".join(("PACKED = (", *lines, ")"))
