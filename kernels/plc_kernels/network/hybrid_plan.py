"""The plan of a bridging network: its sizes, and where its weights and its rows lie.

As :mod:`plc_kernels.network.plan`. Blocks of convolutions, first those downwards, have words of
their own behind those of the network.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plc_kernels.network.plan import MOST, Tensors, Weights, require
from plc_kernels.network.product import (
    LANES,
    MOST_INPUTS,
    TILE_PANELS,
    TILE_ROWS,
    in_int8,
    in_panels,
    stored,
)

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
    RECURRENT,
    SPREAD,
    HEAD,
) = range(10, 16)

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
    INPUTS,
    OTHER_INPUTS,
    WORK,
) = range(16, 31)

BLOCKS = 31
"""Where the words of blocks begin."""

# Words of a block: bins and channels of what it takes, and of the level beside it that it takes,
# too (upwards); bins and channels of what it makes; where its panels lie, its biases with scales
# behind them, and its rows.
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

MOST_LEVELS = 8
MOST_WORDS = BLOCKS + 2 * MOST_LEVELS * B_WORDS
"""A plan has no more."""

TAPS, FRAME_TAPS = 5, 3
BORDER = TAPS // 2
"""Bins of zeros on either side of a grid's frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HybridSizes:
    """Sizes of a bridging network that do not follow from its weights.

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
    sizes : HybridSizes, what these do not tell

    Raises
    ------
    UnfitError
        If a tensor is missing or has another shape, or a size is one that the kernels do not take.
    """
    require(min(sizes.drafts, sizes.bins, sizes.context_frames) >= 1, "its sizes")
    require(max(sizes.drafts, sizes.bins, sizes.frames) <= MOST, "its sizes")
    require(sizes.context_frames_after >= 0, "its sizes")
    levels = len([name for name in tensors if name.startswith("down.") and "bias" in name])
    require(1 <= levels <= MOST_LEVELS, "its levels")
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
    require(max(bottom, 2 * units, TAPS * max(channels)) <= MOST_INPUTS, "its width")
    words = sizes.drafts, sizes.bins, sizes.frames, first, inner, spare, levels, features
    plan[: len(words)] = words
    plan[UNITS] = units
    for name, number in (("down", 0), ("up", levels)):
        for k in range(levels):
            outputs = made.shape(f"{name}.{k}.convolution.bias", 1)[0]
            plan[BLOCKS + (number + k) * B_WORDS + B_MADE] = outputs
    lay_out(plan)
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
    made.keep(HEAD, stored(head.T, made.tensor("head.bias", (outputs,))))
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
    """Keep a block: by source of inputs, by frame, by panel; the last panel overlaps the others."""
    require(outputs >= LANES, "its channels")
    at = BLOCKS + number * B_WORDS
    weight = made.tensor(f"{name}.convolution.weight", (outputs, sum(taken), TAPS, FRAME_TAPS))
    numbers, scales = in_int8(weight.reshape(outputs, -1).T)
    whole_numbers = numbers.T.reshape(weight.shape)
    begins = [min(LANES * p, outputs - LANES) for p in range(-(-outputs // LANES))]
    panels = []
    for begin, count in zip((0, taken[0]), taken, strict=False):
        for tap in range(FRAME_TAPS):
            part = whole_numbers[:, begin : begin + count, :, tap].transpose(2, 1, 0)
            rows = part.reshape(TAPS * count, outputs)
            panels += [in_panels(rows[:, k : k + LANES]) for k in begins]
    made.keep(at + B_WEIGHTS, np.concatenate(panels))
    bias = made.tensor(f"{name}.convolution.bias", (outputs,))
    beyond = 0, -outputs % LANES
    made.keep(at + B_BIAS, np.append(np.pad(bias, beyond), np.pad(scales, beyond)))


def _recurrent(made: Weights, units: int, bins: int, channels: int) -> None:
    """Keep the recurrent layer and its spreading layer; the bottom's numbers are in our order."""
    bottom = bins * channels
    ours = np.arange(bottom).reshape(channels, bins).T.ravel()
    by_input = made.tensor("gru.inputs", (2, 3 * units, bottom))
    by_state = made.tensor("gru.recurrent", (2, 3 * units, units))
    biases = made.tensor("gru.biases", (2, 6 * units))
    given, own = biases[:, : 3 * units].copy(), biases[:, 3 * units :].copy()
    given[:, : 2 * units] += own[:, : 2 * units]
    own[:, : 2 * units] = 0.0
    layers = [stored(by_input[g][:, ours].T, given[g]) for g in range(2)]
    made.keep(GIVEN, np.concatenate(layers))
    layers = [stored(by_state[g].T, own[g]) for g in range(2)]
    made.keep(RECURRENT, np.concatenate(layers))
    spread = made.tensor("spread.weight", (2 * units, bottom))[:, ours]
    made.keep(SPREAD, stored(spread, made.tensor("spread.bias", (bottom,))[ours]))


def lay_out(plan: NDArray[np.int64]) -> int:
    """Write all that follows from a plan's sizes; return the numbers of weights.

    Kernels call it, too (:mod:`plc_kernels.stream.model_file`).

    Parameters
    ----------
    plan : int64, shape (at least BLOCKS + 2 * levels * B_WORDS,), read and written
        With drafts, bins, frames, first, inner and spare ones, levels, units, and the channels that
        each block makes.
    """
    drafts, bins, frames = plan[DRAFTS], plan[BINS], plan[FRAMES]
    inner, levels, units = plan[INNER], plan[LEVELS], plan[UNITS]
    plan[FEATURES] = features = drafts + 2 * (drafts - 1) + 3
    low, rows = features, bins
    for k in range(levels):
        at = BLOCKS + k * B_WORDS
        plan[at + B_BINS], plan[at + B_LOW], plan[at + B_SKIP] = rows, low, 0
        rows = (rows + 1) // 2
        low = plan[at + B_MADE]
        plan[at + B_MADE_BINS] = rows
    plan[BOTTOM] = bottom = rows * low
    for j in range(levels):
        at, beside = BLOCKS + (levels + j) * B_WORDS, BLOCKS + (levels - 1 - j) * B_WORDS
        plan[at + B_BINS], plan[at + B_MADE_BINS] = (
            plan[beside + B_MADE_BINS],
            plan[beside + B_BINS],
        )
        plan[at + B_LOW], plan[at + B_SKIP] = low, plan[beside + B_LOW]
        low = plan[at + B_MADE]
    weights = bins * 0
    for place, need in ((PLACES, bins), (TIMES, frames)):
        plan[place] = weights
        weights += -(-need // LANES) * LANES
    raised, wide, one, work = inner * bottom, bins * 0, bins * 0, bins * 0
    inputs, others = frames * max(bottom, 2 * units), units
    for b in range(2 * levels):
        at = BLOCKS + b * B_WORDS
        outputs, made_bins = plan[at + B_MADE], plan[at + B_MADE_BINS]
        panels = -(-outputs // LANES) * LANES
        plan[at + B_WEIGHTS] = weights
        pairs = (TAPS * plan[at + B_LOW] + 1) // 2 + (TAPS * plan[at + B_SKIP] + 1) // 2
        need = FRAME_TAPS * panels * pairs // 2
        weights += -(-need // LANES) * LANES
        plan[at + B_BIAS] = weights
        weights += 2 * panels
        one = max(one, made_bins * outputs)
        if b >= levels:
            raised = max(raised, inner * made_bins * outputs)
            wide = max(wide, inner * (made_bins + 2 * BORDER) * plan[at + B_LOW])
            others = max(others, inner * (made_bins + 2 * BORDER) * plan[at + B_SKIP])
        else:
            inputs = max(inputs, frames * (plan[at + B_BINS] + 2 * BORDER) * plan[at + B_LOW])
    for place, count, outputs in (
        (GIVEN, bottom, 6 * units),
        (RECURRENT, units, 6 * units),
        (SPREAD, 2 * units, bottom),
        (HEAD, low, LANES + bins * 0),
    ):
        plan[place] = weights
        need = outputs * ((count + 1) // 2 + 4) // 2
        weights += -(-need // LANES) * LANES
    for place, need in (
        (SPECTRA, drafts * frames * 2 * bins),
        (SIZES, (features + 1) * bins),
        (GIVEN_ROWS, frames * 3 * units),
        (SUMS, 3 * units),
        (START, units),
        (STATES, frames * 2 * units),
        (RAISED, raised),
        (WIDE, wide),
        (ONE, one),
        (OTHER, one),
        (LOGITS, bins * LANES),
        (FILLED, (inner - 2 * plan[SPARE]) * 2 * bins),
        # Of int16, and one more.
        (INPUTS, max(inputs, raised, wide) // 2 + 1),
        (OTHER_INPUTS, others // 2 + 1),
    ):
        plan[place] = work
        work += -(-need // LANES) * LANES
    # What the lowest block downwards makes is what the first one upwards takes.
    for b in range(levels + 1):
        at = BLOCKS + b * B_WORDS
        plan[at + B_ROWS] = work
        need = frames * (plan[at + B_BINS] + 2 * BORDER) * plan[at + B_LOW]
        work += -(-need // LANES) * LANES
    plan[WORK] = work
    return int(weights)


def operations(plan: NDArray[np.int64]) -> int:
    """Return the multiply-adds of a run: its time is in proportion to them.

    Kernels call it, too.
    """
    frames, inner, levels = plan[FRAMES], plan[INNER], plan[LEVELS]
    units, bottom = plan[UNITS], plan[BOTTOM]
    done = 6 * frames * units * (bottom + units) + 2 * inner * units * bottom
    for b in range(2 * levels):
        at = BLOCKS + b * B_WORDS
        count = TAPS * FRAME_TAPS * (plan[at + B_LOW] + plan[at + B_SKIP])
        done += (
            (frames if b < levels else inner) * plan[at + B_MADE_BINS] * plan[at + B_MADE] * count
        )
    last = BLOCKS + (2 * levels - 1) * B_WORDS
    return int(done + inner * plan[BINS] * plan[last + B_MADE] * LANES)
