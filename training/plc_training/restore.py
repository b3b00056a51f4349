"""Training of the networks that judge candidates of damage (``plc.restore.detect.judge``).

    python -m plc_training.restore --data CORPUS --out damage.npz

Clips of music, instruments and speech get damage as ``plc bench detect damage`` makes it, in WAV
and in two lossy formats, and are also looked at undamaged. The corpus was coded before: what a
coder left out is added as noise, and its frames are cut elsewhere, or a second coding would find
nothing to do and copies would stay more alike than those of a recording are. Candidates that damage
explains are examples, those of undamaged clips counterexamples. The threshold is set by networks
that were trained on the other half of the clips, so that one undamaged clip in :data:`PERMITTED_S`
has a false finding of each. Each judgement is the mean of three networks: works that none has heard
are judged more evenly.
"""

import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from torch import Tensor, nn

from plc.cli import progress
from plc.errors import ConfigError, PlcError
from plc.processor_time import usable_cores
from plc.restore.detect import clicks, dips, repeats
from plc.restore.detect.judge import ARRAYS, FEATURE_LIMIT
from plc_bench.base.corpus import clip_seed, read_clip
from plc_bench.base.workers import Failure, as_done
from plc_bench.restore.damage import OPUS_RATE, damaged, through
from plc_bench.restore.study import covers
from plc_training.data.library import Clip, find_libraries

PERMITTED_S = 400.0
"""Undamaged sound for one clip with a false finding of a network."""
RATES = (44_100, 48_000)
LOSSY = ("ogg", "mp3", "opus")
_EXAMPLES = {"dip": ("silence", "dropout"), "repeat": ("repeat",), "click": ("click",)}
_TURNS = ("silence", "dropout", "repeat", "click", "repeat")
_SECONDS, _FROM_S = 12.0, 20.0
# Noise of three quarters of the clips, below their level; clips begin within so much of a frame.
_NOISE_DB, _NOISY = (-55.0, -25.0), 0.75
_FRAME_MS = 20.0
# Where so few examples are lost, the threshold is stricter than that.
_EASY = 0.015
_HIDDEN = 24
_STEPS = 1000
_MEMBERS = 3
# Of a domain and split of a library.
_MOST_CLIPS = 45
_POSITIVES, _NEGATIVES = 128, 384
_RATE, _DECAY = 6e-3, 0.3

Row = tuple[str, NDArray[np.float32], bool]
"""Network, features, and whether it is damage."""


def examples(numbered: tuple[int, Clip]) -> tuple[list[Row], float]:
    """Return candidates of one clip, and the seconds of undamaged sound."""
    number, clip = numbered
    rate = RATES[number % 2]
    whole = read_clip(clip.path, rate).signal.mean(axis=1)
    rng = np.random.default_rng(clip_seed(clip.path.name))
    first = min(round(_FROM_S * rate), max(0, whole.size - round(_SECONDS * rate)))
    first += int(rng.integers(round(_FRAME_MS * rate / 1000)))
    signal = _noisy(whole[first : first + round(_SECONDS * rate)], rng)
    formats = [each for each in LOSSY if each != "opus" or rate == OPUS_RATE]
    lossy, other = (formats[(number // 2 + k) % len(formats)] for k in range(2))
    rows: list[Row] = []
    for container in ("wav", lossy, other):
        each_seed = clip_seed(f"{clip.path.name} {container}")
        broken, damage = damaged(signal, rate, _TURNS, each_seed)
        for kind, start, stop, features in _candidates(through(container, broken, rate), rate):
            right = [d for d in damage if d.kind in _EXAMPLES[kind]]
            if any(covers(start, stop, each, rate) for each in right):
                rows.append((kind, features, True))
    container = ("wav", lossy)[number // 4 % 2]
    for kind, _, _, features in _candidates(through(container, signal, rate), rate):
        rows.append((kind, features, False))
    return rows, signal.size / rate


def _noisy(signal: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    level_db = rng.uniform(*_NOISE_DB)
    if rng.random() >= _NOISY:
        return signal
    level = np.sqrt(np.mean(np.square(signal))) * 10 ** (level_db / 20)
    return signal + np.float32(level) * rng.standard_normal(signal.size, np.float32)


def _candidates(
    row: NDArray[np.float32], rate: int
) -> list[tuple[str, int, int, NDArray[np.float32]]]:
    errors = clicks.residual(row, rate)
    found = [("dip", *each[:3]) for each in dips.candidates(row, rate)]
    found += [("repeat", *each[:3]) for each in repeats.candidates(row, rate, errors)]
    found += [("click", *each) for each in clicks.candidates(row, rate, errors)]
    return [
        (kind, start, stop, np.array(features, np.float32)) for kind, start, stop, features in found
    ]


def fit(
    data: Annotated[list[Path], typer.Option(help="Folder of audio; may repeat.")],
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("damage.npz"),
) -> None:
    """Train the networks and write them; refuse libraries with too few examples.

    Printed is how much of the damage held out each network finds at its threshold.
    """
    chosen = _chosen(find_libraries(data))
    rows: list[tuple[int, Row]] = []
    quiet_s = 0.0
    with progress.shown("clips", len(chosen)) as meter:
        for number, result in as_done(
            examples, list(enumerate(chosen)), usable_cores(), lambda each: each[1].path.name
        ):
            meter.advance()
            if isinstance(result, Failure):
                typer.echo(f"left out {result.clip}: {result.reason}")
                continue
            rows += [(number, row) for row in result[0]]
            quiet_s += result[1]
    rows.sort(key=lambda row: row[0])
    # Layers this small take longer on several threads.
    torch.set_num_threads(1)
    arrays: dict[str, NDArray[np.float32]] = {}
    for kind in _EXAMPLES:
        of_kind = [(number, row) for number, row in rows if row[0] == kind]
        arrays |= _trained(kind, of_kind, quiet_s)
    np.savez_compressed(out, **arrays)  # type: ignore[arg-type]  # its stub wants a flag first
    typer.echo(f"wrote {out}")


def _chosen(libraries: list[list[Clip]]) -> list[Clip]:
    """Return clips of each domain and split of a library, evenly spread."""
    groups: dict[tuple[int, str, str], list[Clip]] = {}
    for number, library in enumerate(libraries):
        for clip in library:
            groups.setdefault((number, clip.domain, clip.split), []).append(clip)
    steps = ((group, max(1, -(-len(group) // _MOST_CLIPS))) for group in groups.values())
    return [clip for group, step in steps for clip in group[::step]]


def _trained(
    kind: str, rows: list[tuple[int, Row]], quiet_s: float
) -> dict[str, NDArray[np.float32]]:
    numbers = np.array([number for number, _ in rows])
    truth = np.array([row[2] for _, row in rows], np.bool_)
    if min(truth.sum(), (~truth).sum()) < 2 * _HIDDEN:
        raise ConfigError(f"too few candidates of {kind} to train on; give more clips")
    features = np.stack([row[1] for _, row in rows])
    # Neighbours in the list share a work more often than not.
    half = numbers // 8 % 2 == 1
    scores = np.zeros(truth.size)
    for held in (half, ~half):
        for member in range(_MEMBERS):
            scale, network = _network(features[~held], truth[~held], member)
            scores[held] += _scores(network, scale, features[held]) / _MEMBERS
    worst: dict[int, float] = {}
    for number, score in zip(numbers[~truth].tolist(), scores[~truth].tolist(), strict=True):
        worst[number] = max(score, worst.get(number, score))
    permitted = int(quiet_s / PERMITTED_S)
    strict = sorted(worst.values(), reverse=True)[min(permitted, len(worst) - 1)]
    threshold = max(strict, float(np.quantile(scores[truth], _EASY)))
    found = float(np.mean(scores[truth] > threshold))
    typer.echo(
        f"{kind}: {truth.sum()} examples, {(~truth).sum()} counterexamples in {quiet_s / 60:.1f} "
        f"minutes; threshold {threshold:.2f}, of the candidates held out {found:.3f} above it"
    )
    members = [_arrays(*_network(features, truth, member), threshold) for member in range(_MEMBERS)]
    return {
        f"{kind}_{name}": np.stack([member[place] for member in members])
        for place, name in enumerate(ARRAYS)
    }


def _arrays(scale: "_Scale", network: nn.Sequential, threshold: float) -> list[NDArray[np.float32]]:
    """Return a network as the arrays of :class:`plc.restore.detect.judge.Judge`."""
    layers = [layer for layer in network if isinstance(layer, nn.Linear)]
    arrays = [*scale]
    for layer in layers[:-1]:
        arrays += [layer.weight.detach().numpy(), layer.bias.detach().numpy()]
    last = layers[-1]
    leave = np.append(last.weight.detach().numpy()[0], last.bias.detach().numpy()[0] - threshold)
    return [np.asarray(each, np.float32) for each in (*arrays, leave)]


_Scale = tuple[NDArray[np.float32], NDArray[np.float32]]


def _given(scale: _Scale, features: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(
        np.clip((features - scale[0]) / scale[1], -FEATURE_LIMIT, FEATURE_LIMIT)
    )


def _scores(
    network: nn.Sequential, scale: _Scale, features: NDArray[np.float32]
) -> NDArray[np.float32]:
    with torch.no_grad():
        scores: NDArray[np.float32] = network(_given(scale, features))[:, 0].numpy()
    return scores


def _network(
    features: NDArray[np.float32], truth: NDArray[np.bool_], seed: int
) -> tuple[_Scale, nn.Sequential]:
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    scale = features.mean(axis=0), features.std(axis=0) + np.float32(1e-6)
    given, wanted = _given(scale, features), torch.from_numpy(truth.astype(np.float32))
    network = nn.Sequential(
        nn.Linear(features.shape[1], _HIDDEN),
        nn.ReLU(),
        nn.Linear(_HIDDEN, _HIDDEN),
        nn.ReLU(),
        nn.Linear(_HIDDEN, 1),
    )
    optimizer = torch.optim.AdamW(network.parameters(), _RATE / 2, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, _STEPS)
    positive, negative = np.flatnonzero(truth), np.flatnonzero(~truth)
    for _ in range(_STEPS):
        batch = torch.from_numpy(
            np.concatenate([rng.choice(positive, _POSITIVES), rng.choice(negative, _NEGATIVES)])
        )
        loss = nn.functional.binary_cross_entropy_with_logits(
            network(given[batch])[:, 0], wanted[batch]
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types for it
        optimizer.step()
        schedule.step()
    return scale, network


if __name__ == "__main__":
    try:
        typer.run(fit)
    except PlcError as error:
        sys.exit(f"plc: {error}")
