"""The plan of a bridging network: its sizes, and where its weights and its rows lie.

As :mod:`plc_kernels.network.plan`. Blocks of convolutions, first those downwards, have words of
their own behind those of the network.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plc_kernels.network.plan import MOST, Tensors, Weights, filled_up, require, whole
from plc_kernels.network.product import LANES, TILE_PANELS, TILE_ROWS, in_panels

# Sizes.
(
    DRAFTS,
    BINS,
    FRAMES,
    FIRST,
    INNER,
    SPARE,
    LEVELS,
    FEATURES,
    UNITS,
    BOTTOM,
) = range(10)
"""Drafts; bins, frames; the first frame behind the bottom, and how many there are; those of them on
each side that are no output; levels; features of a bin; units of the recurrent layer in each
direction; its inputs."""

# Where things lie in the weights.
(
    PLACES,
    TIMES,
    GIVEN,
    GIVEN_BIAS,
    RECURRENT,
    RECURRENT_BIAS,
    SPREAD,
    SPREAD_BIAS,
    HEAD,
    HEAD_BIAS,
) = range(10, 20)

# Where rows lie in the memory of a run, and its size.
(
    SPECTRA,
    SIZES,
    GIVEN_ROWS,
    SUMS,
    START,
    STATES,
    RAISED,
    WIDE,
    ONE,
    OTHER,
    LOGITS,
    FILLED,
    WORK,
) = range(20, 33)

BLOCKS = 33
"""Where the words of blocks begin."""

# Words of a block: bins and channels of what it takes, and of the level beside it that it takes,
# too (upwards); bins and channels of what it makes; where its weights and biases lie, and its rows.
(
    B_BINS,
    B_LOW,
    B_SKIP,
    B_MADE_BINS,
    B_MADE,
    B_WEIGHTS,
    B_BIAS,
    B_ROWS,
) = range(8)
B_WORDS = 8

TAPS, FRAME_TAPS = 5, 3
BORDER = TAPS // 2
"""Bins of zeros on either side of a grid's frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HybridSizes:
    """Sizes of a bridging network that its weights do not tell.

    Attributes
    ----------
    drafts, bins, frames, context_frames, context_frames_after : int
        Of its input; the gap lies between the contexts.
    """

    drafts: int
    bins: int
    frames: int
    context_frames: int
    context_frames_after: int


def plan_hybrid(
    tensors: Tensors, sizes: HybridSizes
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the plan and the weights of a bridging network.

    Parameters
    ----------
    tensors : mapping
        By name as the training has them (``down.0.convolution.weight``, …), the recurrent ones and
        ``spread.weight`` as ONNX has them; ``places`` and ``times`` are features of bins and
        frames.
    sizes : HybridSizes
        What these do not tell.

    Raises
    ------
    UnfitError
        If a tensor is missing or has another shape, or a size is one that the kernels do not take.
    """
    require(min(sizes.drafts, sizes.bins, sizes.context_frames) >= 1, "its sizes")
    require(max(sizes.drafts, sizes.bins, sizes.frames) <= MOST, "its sizes")
    require(sizes.context_frames_after >= 0, "its sizes")
    levels = len([name for name in tensors if name.startswith("down.") and "bias" in name])
    require(1 <= levels <= 8, "its levels")
    made = Weights(tensors, BLOCKS + 2 * levels * B_WORDS)
    plan = made.plan
    features = sizes.drafts + 2 * (sizes.drafts - 1) + 3
    channels = [features, *(made.shape(f"down.{k}.convolution.bias", 1)[0] for k in range(levels))]
    bins = [sizes.bins]
    for _ in range(levels):
        bins.append((bins[-1] + 1) // 2)
    spare = min(2, sizes.context_frames_after)
    first = sizes.context_frames - spare
    inner = sizes.frames - sizes.context_frames_after + spare - first
    units = made.shape("gru.recurrent", 3)[2]
    bottom = bins[-1] * channels[-1]
    require(min(bins) >= TILE_ROWS, "too few bins")
    require(first >= 0 and inner >= TILE_ROWS and inner > 2 * spare, "too few frames")
    require(bottom % LANES == 0 and 3 * units % LANES == 0, "its width")
    require(3 * units >= TILE_PANELS * LANES, "its width")
    words = sizes.drafts, sizes.bins, sizes.frames, first, inner, spare, levels, features
    plan[: len(words)] = words
    plan[[UNITS, BOTTOM]] = units, bottom
    made.keep(PLACES, made.tensor("places", (sizes.bins,)))
    made.keep(TIMES, made.tensor("times", (sizes.frames,)))
    for k in range(levels):
        _block(made, f"down.{k}", k, (channels[k],), channels[k + 1], bins[k], bins[k + 1])
    low = channels[-1]
    for j in range(levels):
        k = levels - 1 - j
        outputs = made.shape(f"up.{j}.convolution.bias", 1)[0]
        taken = low, channels[k]
        _block(made, f"up.{j}", levels + j, taken, outputs, bins[k + 1], bins[k])
        low = outputs
    _recurrent(made, units, bins[-1], channels[-1])
    outputs = 2 * sizes.drafts + 1
    require(outputs <= LANES, "too many drafts")
    head = made.tensor("head.weight", (outputs, low, 1, 1))[:, :, 0, 0]
    made.keep(HEAD, in_panels(head.T))
    made.keep(HEAD_BIAS, filled_up(made.tensor("head.bias", (outputs,))))
    _lay_out_work(plan, levels)
    return plan, np.concatenate(made.parts)


def _block(
    made: Weights,
    name: str,
    number: int,
    taken: tuple[int, ...],
    outputs: int,
    bins: int,
    made_bins: int,
) -> None:
    """Keep a block: by what it takes, by frame, by panel; the last panel overlaps the others."""
    require(outputs >= LANES, "its channels")
    at = BLOCKS + number * B_WORDS
    skip = taken[1] if len(taken) > 1 else 0
    made.plan[at : at + B_WEIGHTS] = bins, taken[0], skip, made_bins, outputs
    weight = made.tensor(f"{name}.convolution.weight", (outputs, sum(taken), TAPS, FRAME_TAPS))
    begins = [min(LANES * p, outputs - LANES) for p in range(-(-outputs // LANES))]
    panels = []
    for begin, count in zip((0, taken[0]), taken, strict=False):
        for tap in range(FRAME_TAPS):
            part = weight[:, begin : begin + count, :, tap].transpose(2, 1, 0)
            rows = part.reshape(TAPS * count, outputs)
            panels += [np.ascontiguousarray(rows[:, k : k + LANES]).ravel() for k in begins]
    made.keep(at + B_WEIGHTS, np.concatenate(panels))
    made.keep(at + B_BIAS, made.tensor(f"{name}.convolution.bias", (outputs,)))


def _recurrent(made: Weights, units: int, bins: int, channels: int) -> None:
    """Keep the recurrent layer and what spreads it; numbers of the bottom are turned to ours."""
    bottom = bins * channels
    ours = np.arange(bottom).reshape(channels, bins).T.ravel()
    by_input = made.tensor("gru.inputs", (2, 3 * units, bottom))
    by_state = made.tensor("gru.recurrent", (2, 3 * units, units))
    biases = made.tensor("gru.biases", (2, 6 * units))
    given, own = biases[:, : 3 * units].copy(), biases[:, 3 * units :].copy()
    given[:, : 2 * units] += own[:, : 2 * units]
    own[:, : 2 * units] = 0.0
    made.keep(GIVEN, np.concatenate([in_panels(each[:, ours].T) for each in by_input]))
    made.keep(GIVEN_BIAS, given)
    made.keep(RECURRENT, np.concatenate([in_panels(each.T) for each in by_state]))
    made.keep(RECURRENT_BIAS, own)
    spread = made.tensor("spread.weight", (2 * units, bottom))
    made.keep(SPREAD, in_panels(spread[:, ours]))
    made.keep(SPREAD_BIAS, made.tensor("spread.bias", (bottom,))[ours])


def _lay_out_work(plan: NDArray[np.int64], levels: int) -> None:
    """Write where rows lie in the memory of a run."""
    frames, inner, bins = plan[FRAMES], plan[INNER], plan[BINS]
    blocks = plan[BLOCKS:].reshape(2 * levels, B_WORDS)
    down, up = blocks[:levels], blocks[levels:]
    at = 0
    for place, need in (
        (SPECTRA, plan[DRAFTS] * frames * 2 * bins),
        (SIZES, (plan[FEATURES] + 1) * bins),
        (GIVEN_ROWS, frames * 3 * plan[UNITS]),
        (SUMS, 3 * plan[UNITS]),
        (START, plan[UNITS]),
        (STATES, frames * 2 * plan[UNITS]),
        (RAISED, inner * max(plan[BOTTOM], (up[:, B_MADE_BINS] * up[:, B_MADE]).max())),
        (WIDE, inner * ((up[:, B_MADE_BINS] + 2 * BORDER) * up[:, B_LOW]).max()),
        (ONE, (blocks[:, B_MADE_BINS] * blocks[:, B_MADE]).max()),
        (OTHER, (blocks[:, B_MADE_BINS] * blocks[:, B_MADE]).max()),
        (LOGITS, bins * LANES),
        (FILLED, (inner - 2 * plan[SPARE]) * 2 * bins),
        *(
            (BLOCKS + k * B_WORDS + B_ROWS, frames * (each[B_BINS] + 2 * BORDER) * each[B_LOW])
            for k, each in enumerate(down)
        ),
        # What the lowest block downwards makes is what the first one upwards takes.
        (
            BLOCKS + levels * B_WORDS + B_ROWS,
            frames * (up[0, B_BINS] + 2 * BORDER) * up[0, B_LOW],
        ),
    ):
        plan[place] = at
        at += whole(need)
    plan[WORK] = at
