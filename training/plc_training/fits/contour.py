"""Training of the pitch contour network (:func:`plc_kernels.signal.contour.expect`).

    plc train fit contour --data CORPUS --out contour.npz

Every 10 ms of speech is a possible start of a gap: the past is analysed as in a stream, and the
future pitch is measured with samples on either side. The network learns the logarithm of the period
every 10 ms of the next 60 ms, in voiced parts. Errors are those of the validation split, in cents,
beside those of a constant pitch.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from plc.errors import ConfigError
from plc.processor_time import usable_cores
from plc_kernels.build.compile import kernel
from plc_kernels.signal import contour
from plc_training.data.library import find_libraries, read_samples
from plc_training.train.display import Display, decode_shown

RATE = 16_000
_EVERY = round(0.01 * RATE)
_PAST = round(contour.PAST_MS * RATE / 1000.0)
_POINT = round(contour.POINT_MS * RATE / 1000.0)
# Samples read after the last point: half of a template and of the longest period.
_AFTER = (contour.POINTS - 1) * _POINT + round(0.02 * RATE)
# Below this power no pitch is measured.
_LEAST_POWER = 1e-6
# Least similarity of cycles for a target, and the largest change from period to period.
_SURE = 0.75
_STRAY = 0.25
_WIDTH = 96
BATCH = 1024
_STEPS = 12_000
_RATE = 3e-3
# Errors are in semitones; those above 0.9 count by their size, smaller ones by its square.
_UNIT = 12.0 / math.log(2.0)
_BEND = 0.9


@kernel
def places(
    x: NDArray[np.float32], features: NDArray[np.float32], points: NDArray[np.float32]
) -> int:
    """Find voiced places in a clip at 16 kHz; return their number.

    Parameters
    ----------
    x : float32, shape (n,), the clip
    features : float32, shape (m, FEATURES), written
        Of each place, written by :func:`plc_kernels.signal.contour.look_back`.
    points : float32, shape (m, POINTS), written
        Measured contour, in the units of :func:`plc_kernels.signal.contour.expect`; NaN if
        unvoiced.
    """
    score = np.zeros(round(RATE * contour.LONGEST_MS / 1000.0) + 1, np.float32)
    count = 0
    for end in range(_PAST, x.size - _AFTER, _EVERY):
        if count == features.shape[0]:
            break
        period, alike, _ = contour.look_back(
            x[end - _PAST : end], float(RATE), score, features[count]
        )
        energy = 0.0
        for i in range(end - _EVERY, end):
            energy += x[i] * x[i]
        if alike < contour.VOICED or energy < _LEAST_POWER * _EVERY:
            continue
        near = period
        for j in range(contour.POINTS):
            found, sure = contour.period_around(
                x, end + j * _POINT, near, _STRAY, float(RATE), score
            )
            points[count, j] = np.nan
            if sure >= _SURE:
                points[count, j] = math.log(found / period)
                near = found
        count += not math.isnan(points[count, 1])
    return count


def places_of(clip: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return features and points of a clip's places.

    Shapes (places, FEATURES) and (places, POINTS).
    """
    most = max(clip.size // _EVERY, 1)
    features = np.zeros((most, contour.FEATURES), np.float32)
    points = np.zeros((most, contour.POINTS), np.float32)
    count = places(clip, features, points)
    return features[:count], points[:count]


class ContourNet(nn.Module):
    """The network of :func:`plc_kernels.signal.contour.expect`, in torch."""

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        self.layers = nn.Sequential(
            nn.Linear(contour.FEATURES, _WIDTH),
            nn.SiLU(),
            nn.Linear(_WIDTH, _WIDTH),
            nn.SiLU(),
            nn.Linear(_WIDTH, contour.POINTS),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return points, shape (batch, POINTS)."""
        out: Tensor = self.layers(((features - self.mean) / self.scale).clamp(-4.0, 4.0))
        return out

    def exported(self) -> contour.ContourModel:
        """Return the network for the kernel, rounded to half precision."""
        dense = [layer for layer in self.layers if isinstance(layer, nn.Linear)]
        arrays = [self.mean, self.scale]
        for layer in dense:
            arrays += [layer.weight, layer.bias]
        return contour.ContourModel(*(each.detach().half().float().numpy() for each in arrays))


def fitted(
    features: NDArray[np.float32], points: NDArray[np.float32], steps: int, display: Display
) -> ContourNet:
    """Return a network trained on places; points of NaN are ignored."""
    torch.manual_seed(0)
    given, wanted = torch.from_numpy(features), torch.from_numpy(points)
    network = ContourNet(given.mean(0), given.std(0) + 1e-3)
    optimiser = torch.optim.AdamW(network.parameters(), _RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, steps)
    with display.stage("training", steps) as advance:
        for _ in range(steps):
            drawn = torch.randint(0, len(given), (BATCH,))
            target = wanted[drawn]
            known = ~target.isnan()
            error = _UNIT * (network(given[drawn]) - target)[known]
            loss = nn.functional.smooth_l1_loss(error, torch.zeros_like(error), beta=_BEND)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
            advance()
    return network


def cents(expected: NDArray[np.float32], points: NDArray[np.float32]) -> list[tuple[float, float]]:
    """Return mean and median error at each point, in cents."""
    errors = 1200.0 / math.log(2.0) * np.abs(expected - points)
    return [(float(np.nanmean(at)), float(np.nanmedian(at))) for at in errors.T]


def fit(data: Sequence[Path], out: Path, cache: Path, tell: Callable[[str], None]) -> None:
    """Train the pitch contour network, and write it.

    Parameters
    ----------
    out : Path
        File to write, ``.npz``.
    tell : callable
        Receives the errors as text.

    Raises
    ------
    ConfigError
        If a split has no voiced speech.
    """
    clips = [clip for found in find_libraries(data) for clip in found if clip.domain == "speech"]
    display = Display()
    decoded = decode_shown(clips, RATE, cache, usable_cores(), display)
    found: dict[str, list[tuple[NDArray[np.float32], NDArray[np.float32]]]] = {}
    with display.stage("listening", len(decoded)) as advance:
        for each in decoded:
            found.setdefault(each.clip.split, []).append(places_of(read_samples(each)))
            advance()
    to_train, to_validate = _together(found, "train"), _together(found, "valid")
    network = fitted(*to_train, _STEPS, display)
    features, points = to_validate
    with torch.no_grad():
        expected = network(torch.from_numpy(features)).numpy()
    tell(f"{len(to_train[0])} places to train with, {len(features)} to validate")
    for name, said in (("stays", np.zeros_like(points)), ("expected", expected)):
        at = ", ".join(f"{mean:.0f} / {median:.0f}" for mean, median in cents(said, points))
        tell(
            f"{name}: {at} cents (mean / median) every {contour.POINT_MS:g} ms from the gap's start"
        )
    arrays = network.exported()._asdict()
    np.savez(out, **{name: array.astype(np.float16) for name, array in arrays.items()})
    tell(f"wrote {out}")


def _together(
    found: dict[str, list[tuple[NDArray[np.float32], NDArray[np.float32]]]], split: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return features and points of all places in a split; refuse a split without any."""
    of_clips = [each for each in found.get(split, []) if len(each[0])]
    if not of_clips:
        raise ConfigError(
            f"no pitch was found in clips of speech of the split {split}; expected a library with "
            "speech in the splits train and valid, some seconds of it"
        )
    features, points = zip(*of_clips, strict=True)
    return np.concatenate(features), np.concatenate(points)
