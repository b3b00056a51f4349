"""The causal network as kernels against the same network in NumPy, in float64."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from plc_kernels.network.architectures import plan_frames
from plc_kernels.network.layers import run_network
from plc_kernels.network.plan import BINS, WORK, UnfitError
from tests.kernels.network.layers_by_numpy import Wide, recurrent, rounded, sigmoid

Reals = NDArray[np.float32]
Tensors = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """As :func:`plan_frames` takes them."""

    drafts: int
    bins: int
    context_frames: int
    frames: int
    bands: int = 1
    top_bin: bool = True
    early_frames: int = 0
    draft_share: float = 0.0


SIZES = Sizes(drafts=2, bins=11, context_frames=3, frames=10)
WIDTH = 48


@dataclass(frozen=True, slots=True)
class Kind:
    """A network to be made up."""

    sizes: Sizes = SIZES
    groups: int = 1
    early: int = 0


KINDS = {
    "plain": Kind(),
    "one draft": Kind(replace(SIZES, drafts=1)),
    "three drafts": Kind(replace(SIZES, drafts=3)),
    "groups": Kind(groups=2),
    "bands": Kind(replace(SIZES, bands=4)),
    "no top bin": Kind(replace(SIZES, top_bin=False)),
    "bands without the top bin": Kind(replace(SIZES, bands=4, top_bin=False)),
    "draft share": Kind(replace(SIZES, draft_share=0.25)),
    "early adapters": Kind(replace(SIZES, early_frames=6), early=5),
    "early adapters of all frames": Kind(replace(SIZES, early_frames=7), early=16),
    "all": Kind(
        Sizes(
            drafts=2,
            bins=19,
            context_frames=4,
            frames=23,
            bands=4,
            top_bin=False,
            early_frames=6,
            draft_share=0.25,
        ),
        groups=2,
        early=32,
    ),
}


def _tensors(kind: Kind, seed: int = 0) -> Tensors:
    """Return weights of a size at which each layer matters."""
    rng = np.random.default_rng(seed)
    sizes, units = kind.sizes, WIDTH // kind.groups
    seen = -(-sizes.bins // sizes.bands)
    features = sizes.bins + 2 * (sizes.drafts - 1) * seen + 2
    outputs = (sizes.drafts + 1) * sizes.bins
    shapes = {
        "enter": (WIDTH, features, 3),
        "mix": (WIDTH, WIDTH, 3),
        "join": (WIDTH, 2 * WIDTH, 3),
        "head": (outputs, WIDTH, 1),
    }
    found: Tensors = {}

    def add(name: str, *shape: int) -> None:
        fan_in = float(np.prod(shape[1:])) if len(shape) > 1 else 10.0
        found[name] = (rng.standard_normal(shape) / np.sqrt(fan_in)).astype(np.float32)

    def add_adapter(name: str, rank: int, outputs: int, inputs: int, taps: int) -> None:
        add(f"{name}.down.weight", rank, inputs, taps)
        add(f"{name}.up.weight", outputs, rank, 1)
        add(f"{name}.up.bias", outputs)

    for name, shape in shapes.items():
        add(f"{name}.weight", *shape)
        add(f"{name}.bias", shape[0])
        if kind.early and name in ("join", "head"):
            add_adapter(f"early_{name}", kind.early, *shape)
    names = ["gru"] if kind.groups == 1 else [f"gru.parts.{g}" for g in range(kind.groups)]
    for name in names:
        add(f"{name}.inputs", 1, 3 * units, units)
        add(f"{name}.recurrent", 1, 3 * units, units)
        add(f"{name}.biases", 1, 6 * units)
    return found


def _leaky(x: Wide) -> Wide:
    made: Wide = np.where(x > 0.0, x, 0.1 * x)
    return made


def _convolved(x: Wide, tensors: Tensors, name: str) -> Wide:
    """Return a convolution, or an adapter's part, over the rows of ``x``: (frames, inputs)."""

    def apply(x: Wide, weight: NDArray[Any]) -> Wide:
        pad = weight.shape[2] // 2
        padded = np.pad(x, ((pad, pad), (0, 0)))
        taps = [padded[k : k + len(x)] @ weight[:, :, k].T for k in range(weight.shape[2])]
        made: Wide = np.sum(taps, axis=0)
        return made

    tensors = {key: value.astype(np.float64) for key, value in tensors.items()}
    if f"{name}.weight" in tensors:
        return apply(x, rounded(tensors[f"{name}.weight"])) + tensors[f"{name}.bias"]
    if f"{name}.down.weight" not in tensors:
        return np.zeros((len(x), 1))
    down, up = (rounded(tensors[f"{name}.{each}.weight"]) for each in ("down", "up"))
    return apply(apply(x, down), up) + tensors[f"{name}.up.bias"]


def _in_bands(x: Wide, bands: int) -> Wide:
    padded = np.pad(x, ((0, 0), (0, -x.shape[1] % bands)))
    made: Wide = padded.reshape(len(x), -1, bands).sum(axis=2)
    return made


def _wanted(kind: Kind, tensors: Tensors, spectra: Reals, lost: Reals) -> Wide:
    """Return the fill, shape (2, bins, frames behind the context), of one gap."""
    sizes = kind.sizes
    context, last = sizes.context_frames, sizes.drafts - 1
    drafts = spectra.astype(np.float64).transpose(0, 3, 2, 1)  # drafts, frames, bins, parts
    drafts = drafts[..., 0] + 1j * drafts[..., 1]
    own_draft = drafts[last, context:].copy()
    if not sizes.top_bin:
        drafts[:, :, -1] = 0.0
    powers = np.abs(drafts) ** 2 + 1e-14
    level = np.sqrt(powers[last, :context]).mean() + 1e-6

    def logarithm(power: Wide) -> Wide:
        made: Wide = np.log(np.sqrt(power) / level + 1e-4) / 3.0 + 1.0
        return made

    seen = [_in_bands(each, sizes.bands) for each in powers]
    products = [_in_bands((each * drafts[last].conj()).real, sizes.bands) for each in drafts[:last]]
    features = [logarithm(each) for each in seen[:last]] + [logarithm(powers[last])]
    features += [
        each / np.sqrt(power * seen[last])
        for each, power in zip(products, seen[:last], strict=True)
    ]
    features += [lost.astype(np.float64)[:, None], np.arange(sizes.frames)[:, None] / 32.0]
    x = _leaky(_convolved(np.hstack(features), tensors, "enter"))
    x = x + _leaky(_convolved(x, tensors, "mix"))
    names = ["gru"] if kind.groups == 1 else [f"gru.parts.{g}" for g in range(kind.groups)]
    shares = np.split(x, kind.groups, axis=1)
    states = [recurrent(share, tensors, name) for share, name in zip(shares, names, strict=True)]
    x = np.hstack([x, *states])[context - 1 :]
    first = (np.arange(len(x)) < sizes.early_frames + 1)[:, None]
    joined = _convolved(x, tensors, "join") + first * _convolved(x, tensors, "early_join")
    x = _leaky(joined)[1:]
    head = _convolved(x, tensors, "head") + first[1:] * _convolved(x, tensors, "early_head")
    head = head.reshape(len(x), sizes.drafts + 1, sizes.bins)
    gains = 2.0 * sigmoid(head[:, :-1])
    mixed = (gains.transpose(1, 0, 2) * drafts[:, context:]).sum(axis=0)
    added = np.exp(np.minimum(head[:, -1], 3.0)) * level
    filled = mixed * (1.0 + added / (np.sqrt(np.abs(mixed) ** 2 + 1e-14) + 3e-3 * level))
    filled += sizes.draft_share * (own_draft - filled)
    if not sizes.top_bin:
        filled[:, -1] = own_draft[:, -1]
    return np.stack([filled.real.T, filled.imag.T])


def _gap(sizes: Sizes, batch: int = 1, seed: int = 0) -> tuple[Reals, Reals]:
    """Return spectra, shape (batch, drafts, 2, bins, frames), and what is lost of each frame."""
    rng = np.random.default_rng(seed)
    spectra = rng.standard_normal((batch, sizes.drafts, 2, sizes.bins, sizes.frames))
    lost = np.clip(rng.uniform(-1.0, 2.0, (batch, sizes.frames)), 0.0, 1.0)
    return spectra.astype(np.float32), lost.astype(np.float32)


def _made(kind: Kind, tensors: Tensors, spectra: Reals, lost: Reals) -> Reals:
    sizes = kind.sizes
    plan, weights = plan_frames(tensors, **asdict(sizes))
    touching = sizes.frames - sizes.context_frames
    out = np.full((len(spectra), 2, sizes.bins, touching), np.nan, np.float32)
    work = np.full(plan[WORK], np.nan, np.float32)  # what lies there has no meaning
    run_network(plan, weights, spectra.ravel(), lost.ravel(), work, out.ravel())
    return out


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("level", [1e-5, 1.0, 300.0])
def test_the_network_is_numpys(name: str, level: float) -> None:
    kind = KINDS[name]
    tensors = _tensors(kind)
    spectra, lost = _gap(kind.sizes, batch=3)
    spectra *= np.float32(level)
    made = _made(kind, tensors, spectra, lost)
    for k in range(3):
        wanted = _wanted(kind, tensors, spectra[k], lost[k])
        assert np.abs(made[k] - wanted).max() < 5e-3 * np.abs(wanted).max()


def test_gaps_of_a_batch_are_filled_apart() -> None:
    kind = KINDS["all"]
    tensors = _tensors(kind)
    spectra, lost = _gap(kind.sizes, batch=3)
    both = _made(kind, tensors, spectra, lost)
    for k in range(3):
        assert np.array_equal(both[k], _made(kind, tensors, spectra[k : k + 1], lost[k : k + 1])[0])


def test_silence_is_filled_with_silence() -> None:
    kind = KINDS["groups"]
    spectra, lost = _gap(kind.sizes)
    made = _made(kind, _tensors(kind), 0.0 * spectra, lost)
    assert np.abs(made).max() == 0.0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e38, -1e38, 1e-40])
@pytest.mark.parametrize("draft", [0, 1])
def test_hostile_numbers_do_no_harm(value: float, draft: int) -> None:
    kind = KINDS["all"]
    plan, weights = plan_frames(_tensors(kind), **asdict(kind.sizes))
    for frame in (0, kind.sizes.context_frames, kind.sizes.frames - 1):
        spectra, lost = _gap(kind.sizes)
        spectra[0, draft, 1, 3, frame] = value
        work = np.zeros(plan[WORK] + 64, np.float32)
        out = np.zeros((kind.sizes.frames - kind.sizes.context_frames) * 2 * plan[BINS] + 64)
        out = out.astype(np.float32)
        run_network(plan, weights, spectra.ravel(), lost.ravel(), work[:-64], out[:-64])
        assert not work[-64:].any()
        assert not out[-64:].any()
    # The same memory serves the next gap as if nothing had been.
    spectra, lost = _gap(kind.sizes)
    run_network(plan, weights, spectra.ravel(), lost.ravel(), work[:-64], out[:-64])
    assert np.array_equal(out[:-64], _made(kind, _tensors(kind), spectra, lost).ravel())


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("enter.weight", (WIDTH, 40, 3)),
        ("mix.bias", (40,)),
        ("join.weight", (WIDTH, WIDTH, 3)),
        ("head.bias", (0,)),
        ("gru.recurrent", (1, 3 * WIDTH, 8)),
        ("gru.biases", (6 * WIDTH,)),
    ],
)
def test_weights_of_another_shape_are_refused(name: str, shape: tuple[int, ...]) -> None:
    tensors = _tensors(KINDS["plain"]) | {name: np.zeros(shape, np.float32)}
    with pytest.raises(UnfitError):
        plan_frames(tensors, **asdict(SIZES))


@pytest.mark.parametrize("name", sorted(_tensors(KINDS["plain"])))
def test_a_missing_tensor_is_refused(name: str) -> None:
    tensors = _tensors(KINDS["plain"])
    del tensors[name]
    with pytest.raises(UnfitError):
        plan_frames(tensors, **asdict(SIZES))


@pytest.mark.parametrize(
    "changes",
    [
        {"drafts": 0},
        {"bins": 0},
        {"bins": 12},
        {"context_frames": 0},
        {"frames": 8},
        {"frames": 1 << 40},
        {"bands": 0},
        {"bands": 4},
        {"draft_share": float("nan")},
    ],
)
def test_other_sizes_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UnfitError):
        plan_frames(_tensors(KINDS["plain"]), **asdict(SIZES) | changes)


def test_weights_that_are_not_finite_are_refused() -> None:
    tensors = _tensors(KINDS["plain"])
    tensors["mix.weight"][0, 0, 0] = np.nan
    with pytest.raises(UnfitError):
        plan_frames(tensors, **asdict(SIZES))
