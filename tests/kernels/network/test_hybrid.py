"""The bridging network as kernels against the same network in NumPy, in float64."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from plc_kernels.network.architectures import plan_hybrid
from plc_kernels.network.layers import run_network
from plc_kernels.network.plan import WORK, UnfitError
from tests.kernels.network.layers_by_numpy import Wide, recurrent, rounded

Reals = NDArray[np.float32]
Tensors = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """As :func:`plan_hybrid` takes them."""

    drafts: int
    bins: int
    frames: int
    context_frames: int
    context_frames_after: int


SIZES = Sizes(drafts=3, bins=23, frames=20, context_frames=8, context_frames_after=1)
CHANNELS, RAISED, UNITS = (16, 24), (40, 16), 32

KINDS = {
    "plain": SIZES,
    "one draft": replace(SIZES, drafts=1),
    "an even number of bins": replace(SIZES, bins=24),
    "nothing behind the gap": replace(SIZES, context_frames_after=0),
    "much behind the gap": replace(SIZES, context_frames_after=5),
}


def _tensors(sizes: Sizes, seed: int = 0) -> Tensors:
    """Return weights of a size at which each layer matters."""
    rng = np.random.default_rng(seed)
    features = sizes.drafts + 2 * (sizes.drafts - 1) + 3
    bottom = ((sizes.bins + 1) // 2 + 1) // 2 * CHANNELS[1]
    found: Tensors = {}

    def add(name: str, *shape: int) -> None:
        fan_in = float(np.prod(shape[1:])) if len(shape) > 1 else 10.0
        found[name] = (rng.standard_normal(shape) / np.sqrt(fan_in)).astype(np.float32)

    for name, outputs, inputs in (
        ("down.0", CHANNELS[0], features),
        ("down.1", CHANNELS[1], CHANNELS[0]),
        ("up.0", RAISED[0], CHANNELS[1] + CHANNELS[0]),
        ("up.1", RAISED[1], RAISED[0] + features),
    ):
        add(f"{name}.convolution.weight", outputs, inputs, 5, 3)
        add(f"{name}.convolution.bias", outputs)
    found["places"] = np.linspace(-1.0, 1.0, sizes.bins).astype(np.float32)
    found["times"] = np.linspace(0.5, -1.0, sizes.frames).astype(np.float32)
    add("gru.inputs", 2, 3 * UNITS, bottom)
    add("gru.recurrent", 2, 3 * UNITS, UNITS)
    add("gru.biases", 2, 6 * UNITS)
    add("spread.weight", 2 * UNITS, bottom)
    add("spread.bias", bottom)
    add("head.weight", 2 * sizes.drafts + 1, RAISED[1], 1, 1)
    add("head.bias", 2 * sizes.drafts + 1)
    return found


def _convolve(tensors: Tensors, name: str, x: Wide, stride: int) -> Wide:
    """Return a block of a grid of shape (channels, bins, frames)."""
    weight = rounded(tensors[f"{name}.convolution.weight"])
    padded = np.pad(x, ((0, 0), (2, 2), (1, 1)))
    seen = np.lib.stride_tricks.sliding_window_view(padded, (5, 3), axis=(1, 2))[:, ::stride]
    y = np.einsum("oikl,ibtkl->obt", weight, seen)
    y = y + tensors[f"{name}.convolution.bias"][:, None, None]
    out: Wide = np.where(y > 0.0, y, 0.1 * y)
    return out


def _expected(tensors: Tensors, sizes: Sizes, spectra: Reals, lost: Reals) -> Wide:
    """Return the fill of one gap, shape (2, bins, frames)."""
    x = spectra[:, 0].astype(np.float64) + 1j * spectra[:, 1]
    magnitudes = np.sqrt(np.abs(x) ** 2 + 1e-12)
    level = magnitudes.mean() + 1e-6
    cosines = x[:-1] * x[-1].conj() / (magnitudes[:-1] * magnitudes[-1])
    bins, frames = x.shape[1:]
    grid = np.ones((1, bins, frames))
    features = [
        np.log(magnitudes / level + 1e-3) / 3.0 + 1.0,
        *(part[None] for each in cosines for part in (each.real, each.imag)),
        grid * tensors["places"][None, :, None],
        grid * tensors["times"],
        grid * lost,
    ]
    levels = [np.concatenate(features)]
    for k in range(len(CHANNELS)):
        levels.append(_convolve(tensors, f"down.{k}", levels[-1], 2))
    y = levels[-1]
    down = y.reshape(-1, frames).T
    states = np.hstack([recurrent(down, tensors, "gru", direction) for direction in (0, 1)])
    y = y + (states @ rounded(tensors["spread.weight"].T).T + tensors["spread.bias"]).T.reshape(
        y.shape
    )
    spare = min(2, sizes.context_frames_after)
    inner = slice(sizes.context_frames - spare, frames - sizes.context_frames_after + spare)
    y = y[..., inner]
    for j, beside in enumerate(levels[-2::-1]):
        y = y.repeat(2, axis=1)[:, : beside.shape[1]]
        y = _convolve(tensors, f"up.{j}", np.concatenate([y, beside[..., inner]]), 1)
    y = np.einsum("oi,ibt->obt", rounded(tensors["head.weight"][:, :, 0, 0]), y)
    y = (y + tensors["head.bias"][:, None, None])[..., spare : y.shape[-1] - spare]
    gap = x[..., sizes.context_frames : frames - sizes.context_frames_after]
    made = ((y[:-1:2] + 1j * y[1:-1:2]) * gap).sum(0)
    size = np.sqrt(np.abs(made) ** 2 + 1e-12)
    made = made * (1.0 + np.log1p(np.exp(y[-1])) * level / (size + 0.01 * level))
    return np.stack([made.real, made.imag])


def _gaps(sizes: Sizes, batch: int, seed: int = 1) -> tuple[Reals, Reals]:
    rng = np.random.default_rng(seed)
    shape = batch, sizes.drafts, 2, sizes.bins, sizes.frames
    return rng.standard_normal(shape, np.float32), rng.random((batch, sizes.frames), np.float32)


def _filled_frames(sizes: Sizes) -> int:
    return sizes.frames - sizes.context_frames - sizes.context_frames_after


@pytest.mark.parametrize("kind", KINDS)
def test_the_kernels_make_what_the_network_makes(kind: str) -> None:
    sizes = KINDS[kind]
    tensors = _tensors(sizes)
    plan, weights = plan_hybrid(tensors, **asdict(sizes))
    spectra, lost = _gaps(sizes, 2)
    out = np.zeros((2, 2, sizes.bins, _filled_frames(sizes)), np.float32)
    work = np.full(plan[WORK], np.nan, np.float32)
    for _ in range(2):  # what a run leaves behind does not matter
        run_network(plan, weights, spectra.ravel(), lost.ravel(), work, out.ravel())
        for b in range(2):
            expected = _expected(tensors, sizes, spectra[b], lost[b])
            assert np.abs(out[b] - expected).max() < 2e-3 * np.abs(expected).max()


def test_silence_and_its_opposite_are_finite() -> None:
    plan, weights = plan_hybrid(_tensors(SIZES), **asdict(SIZES))
    spectra, lost = _gaps(SIZES, 1)
    out = np.zeros((1, 2, SIZES.bins, _filled_frames(SIZES)), np.float32)
    work = np.zeros(plan[WORK], np.float32)
    for scale in (0.0, 1e-12, 1e6):
        given = (scale * spectra).astype(np.float32).ravel()
        run_network(plan, weights, given, lost.ravel(), work, out.ravel())
        assert np.isfinite(out).all()


@pytest.mark.parametrize("name", sorted(_tensors(SIZES)))
def test_missing_other_and_infinite_tensors_are_refused(name: str) -> None:
    tensors = _tensors(SIZES)
    value = tensors.pop(name)
    with pytest.raises(UnfitError):
        plan_hybrid(tensors, **asdict(SIZES))
    with pytest.raises(UnfitError):
        plan_hybrid(tensors | {name: value[..., None]}, **asdict(SIZES))
    infinite = value.copy()
    infinite.flat[0] = np.inf
    with pytest.raises(UnfitError):
        plan_hybrid(tensors | {name: infinite}, **asdict(SIZES))


@pytest.mark.parametrize(
    "changes",
    [
        {"drafts": 0},
        {"drafts": 8},
        {"bins": 0},
        {"bins": 19},
        {"bins": 1 << 40},
        {"context_frames": 0},
        {"context_frames_after": -1},
        {"frames": 9},
        {"frames": 1 << 40},
    ],
)
def test_other_sizes_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UnfitError):
        plan_hybrid(_tensors(SIZES), **asdict(SIZES) | changes)
