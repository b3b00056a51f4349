"""The plan of a causal network: its sizes, and where its weights and its rows lie.

Two arrays are a network: ``plan`` (int64, the words below) and ``weights`` (float32, in the order
in which products read them). Both are written once and read by all streams. A run has a caller's
memory ``work`` (float32, ``plan[WORK]`` numbers).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plc_kernels.network.product import LANES, MOST_INPUTS, TILE_PANELS, TILE_ROWS, stored

# Sizes.
(
    DRAFTS,
    BINS,
    USED,
    BANDS,
    SEEN,
    FEATURES,
    WIDTH,
    GROUPS,
    UNITS,
    GATES,
    CONTEXT,
    FRAMES,
    RANK,
    EARLY,
    LOGITS,
) = range(15)
"""Drafts; bins of a spectrum, and those of them that the network sees; bins in a band of the other
drafts, and bands; features of a frame; channels of the layers; recurrent layers side by side, units
of each, and the numbers of its gates in whole panels; frames before the gap, and all; inputs of the
early adapters in whole panels, and the frames that these change; outputs of a frame in whole
panels."""

# Where layers lie in the weights, and the share of the last draft.
(
    ENTER,
    MIX,
    GIVEN,
    RECURRENT,
    JOIN,
    HEAD,
    JOIN_DOWN,
    JOIN_UP,
    HEAD_DOWN,
    HEAD_UP,
    DRAFT_SHARE,
) = range(15, 26)

# Where rows lie in the memory of a run, and its size.
(
    FEATURE_ROWS,
    ENTERED,
    MIXED,
    GIVEN_ROWS,
    SUMS,
    START,
    JOINED,
    LOW,
    BEGUN,
    LOGIT_ROWS,
    POWERS,
    SPECTRA,
    FILLED,
    INPUTS,
    LOW_INPUTS,
    WORK,
) = range(26, 42)

COUNT = 42
"""Words of a plan."""


MOST = 1 << 15
"""The largest size of anything: beyond, a run's memory would have no bound."""


class UnfitError(ValueError):
    """The weights do not fit such a network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FramesSizes:
    """Sizes of a causal network that do not follow from its weights.

    Attributes
    ----------
    drafts, bins, context_frames, frames : int
        Of its input; the gap begins behind the context.
    bands : int
        Number of bins in a band of the other drafts' features.
    top_bin : bool, whether it sees the topmost bin
    early_frames : int
        Frames that its early adapters change, where it has them.
    draft_share : float
        Share of the last draft in what it returns.
    """

    drafts: int
    bins: int
    context_frames: int
    frames: int
    bands: int = 1
    top_bin: bool = True
    early_frames: int = 0
    draft_share: float = 0.0


Tensors = Mapping[str, NDArray[Any]]


def plan_frames(
    tensors: Tensors, sizes: FramesSizes
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the plan and the weights of a causal network.

    Adapters of all frames are added to the weights that they change. Those of the first frames stay
    apart: they are 1 % of the work.

    Parameters
    ----------
    tensors : mapping
        By name as the training has them (``enter.weight``, ``gru.parts.0.inputs``, …), the
        recurrent ones as ONNX has them.
    sizes : FramesSizes, what these do not tell

    Raises
    ------
    UnfitError
        If a tensor is missing or has another shape, or a size is one that the kernels do not take.
    """
    require(min(sizes.drafts, sizes.bins, sizes.bands, sizes.context_frames) >= 1, "its sizes")
    require(max(sizes.drafts, sizes.bins, sizes.frames) <= MOST, "its sizes")
    require(0.0 <= sizes.draft_share <= 1.0, "its share of the draft")
    made = Weights(tensors, COUNT)
    touching = sizes.frames - sizes.context_frames
    width = made.shape("mix.bias", 1)[0]
    names = [name for name in tensors if name.startswith("gru.parts.")]
    groups = len({name.split(".")[2] for name in names}) or 1
    outputs = (sizes.drafts + 1) * sizes.bins
    made.plan[[DRAFTS, BINS, USED, BANDS]] = (
        sizes.drafts,
        sizes.bins,
        sizes.bins - (not sizes.top_bin),
        sizes.bands,
    )
    made.plan[[WIDTH, GROUPS]] = width, groups
    made.plan[[CONTEXT, FRAMES]] = sizes.context_frames, sizes.frames
    has_early = "early_join.down.weight" in tensors
    if has_early:
        made.plan[RANK] = whole(made.shape("early_join.down.weight", 3)[0])
        made.plan[EARLY] = sizes.early_frames
    lay_out(made.plan)
    require(touching >= TILE_ROWS, "too few frames")
    require(width % LANES == 0 and width % groups == 0, "its width")
    require(max(made.plan[FEATURES], 2 * width) * 3 <= MOST_INPUTS, "its width")
    require(made.plan[GATES] >= TILE_PANELS * LANES, "its width")
    made.convolution("enter", (width, int(made.plan[FEATURES]), 3), ENTER)
    made.convolution("mix", (width, width, 3), MIX)
    made.recurrent(groups, width // groups)
    join, head = (width, 2 * width, 3), (outputs, width, 1)
    join_bias = made.convolution("join", join, JOIN)
    head_bias = made.convolution("head", head, HEAD)
    if has_early:
        require(TILE_ROWS <= sizes.early_frames <= touching, "its early frames")
        made.early("early_join", join, join_bias, JOIN_DOWN, JOIN_UP)
        made.early("early_head", head, head_bias, HEAD_DOWN, HEAD_UP)
    made.keep(DRAFT_SHARE, np.array([sizes.draft_share]))
    return made.plan, np.concatenate(made.parts)


def lay_out(plan: NDArray[np.int64]) -> int:
    """Write all that follows from a plan's sizes; return the numbers of weights.

    Kernels call it, too (:mod:`plc_kernels.stream.model_file`).

    Parameters
    ----------
    plan : int64, shape (COUNT,), read and written
        With drafts, bins, used ones, bands, width, groups, context, frames, rank and early frames.
    """
    drafts, bins, width, groups = plan[DRAFTS], plan[BINS], plan[WIDTH], plan[GROUPS]
    frames, rank, early = plan[FRAMES], plan[RANK], plan[EARLY]
    units, touching = width // groups, frames - plan[CONTEXT]
    seen = -(-bins // plan[BANDS])
    features = bins + 2 * (drafts - 1) * seen + 2
    gates = -(-3 * units // LANES) * LANES
    logits = -(-(drafts + 1) * bins // LANES) * LANES
    plan[SEEN], plan[FEATURES], plan[UNITS] = seen, features, units
    plan[GATES], plan[LOGITS] = gates, logits
    adapts = rank > 0
    weights = width * 0
    for k, (count, outputs) in enumerate(
        (
            (3 * features, width),
            (3 * width, width),
            (units, groups * gates),
            (units, groups * gates),
            (6 * width, width),
            (width, logits),
            (6 * width, rank),
            (rank, width * adapts),
            (width, rank),
            (rank, logits * adapts),
        )
    ):
        plan[ENTER + k] = weights
        need = outputs * ((count + 1) // 2 + 4) // 2
        weights += -(-need // LANES) * LANES
    plan[DRAFT_SHARE] = weights
    at = 0
    for k, need in enumerate(
        (
            # Rows of zeros stand before the first frame and behind the last.
            (frames + 2) * features,
            (frames + 2) * width,
            (frames + 1) * 2 * width,
            groups * frames * gates,
            gates,
            units,
            touching * width,
            early * rank,
            early * max(width, logits),
            touching * logits,
            2 * bins,
            drafts * frames * 2 * bins,
            touching * 2 * bins,
            # Of int16, and one more.
            (frames + 2) * max(features, 2 * width) // 2 + 1,
            max(early * rank, units) // 2 + 1,
        )
    ):
        plan[FEATURE_ROWS + k] = at
        at += -(-need // LANES) * LANES
    plan[WORK] = at
    return int(weights + LANES)


def operations(plan: NDArray[np.int64]) -> int:
    """Return the multiply-adds of a run: its time is in proportion to them."""
    frames, touching = int(plan[FRAMES]), int(plan[FRAMES] - plan[CONTEXT])
    width, units, gates = int(plan[WIDTH]), int(plan[UNITS]), int(plan[GATES])
    logits, early, rank = int(plan[LOGITS]), int(plan[EARLY]), int(plan[RANK])
    before = 3 * width * (int(plan[FEATURES]) + width) + 2 * int(plan[GROUPS]) * units * gates
    behind = 6 * width * width + width * logits
    return frames * before + touching * behind + early * rank * (8 * width + logits)


class Weights:
    """Weights in the making: the values kept so far, and their places.

    Parameters
    ----------
    tensors : mapping, by name
    words : int, of the plan
    """

    def __init__(self, tensors: Tensors, words: int) -> None:
        self.plan = np.zeros(words, np.int64)
        self.parts: list[NDArray[np.float32]] = []
        self._tensors = tensors
        self._size = 0

    def keep(self, place: int, values: NDArray[Any]) -> None:
        """Append values, filled up with zeros to whole panels."""
        self.plan[place] = self._size
        part = np.zeros(whole(values.size), np.float32)
        part[: values.size] = values.ravel()
        self.parts.append(part)
        self._size += part.size

    def shape(self, name: str, dimensions: int) -> tuple[int, ...]:
        """Return a tensor's shape."""
        require(name in self._tensors, f"there is no {name}")
        shape = self._tensors[name].shape
        require(len(shape) == dimensions and min(shape, default=0) > 0, f"{name} is {shape}")
        return shape

    def tensor(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return a tensor in float32; refuse another shape, NaN and infinity."""
        require(name in self._tensors, f"there is no {name}")
        values = self._tensors[name]
        require(values.shape == shape, f"{name} is {values.shape} instead of {shape}")
        values = values.astype(np.float32)
        require(bool(np.isfinite(values).all()), f"{name} is not finite")
        return values

    def convolution(
        self, name: str, shape: tuple[int, int, int], place: int
    ) -> NDArray[np.float32]:
        """Keep a convolution, its adapter added to it; return its bias."""
        outputs, inputs, taps = shape
        weight = _rows(self.tensor(f"{name}.weight", shape))
        bias = self.tensor(f"{name}.bias", (outputs,))
        if f"{name}.down.weight" in self._tensors:
            rank = self.shape(f"{name}.down.weight", 3)[0]
            down = _rows(self.tensor(f"{name}.down.weight", (rank, inputs, taps)))
            up = _rows(self.tensor(f"{name}.up.weight", (outputs, rank, 1)))
            for r in range(rank):  # in one order everywhere, which a library's product is not
                weight = weight + down[:, r, None] * up[r]
            bias = bias + self.tensor(f"{name}.up.bias", (outputs,))
        self.keep(place, stored(weight, bias))
        return bias

    def early(
        self,
        name: str,
        shape: tuple[int, int, int],
        of_layer: NDArray[np.float32],
        down: int,
        up: int,
    ) -> None:
        """Keep an adapter of the first frames; add its layer's bias to its own."""
        outputs, inputs, taps = shape
        rank = self.shape(f"{name}.down.weight", 3)[0]
        require(self.plan[RANK] == whole(rank), "its early adapters")
        low = _rows(self.tensor(f"{name}.down.weight", (rank, inputs, taps)))
        high = np.zeros((whole(rank), outputs), np.float32)
        high[:rank] = _rows(self.tensor(f"{name}.up.weight", (outputs, rank, 1)))
        self.keep(down, stored(low, np.zeros(rank, np.float32)))
        self.keep(up, stored(high, of_layer + self.tensor(f"{name}.up.bias", (outputs,))))

    def recurrent(self, groups: int, units: int) -> None:
        """Keep the recurrent layers; biases that are only added are added up."""
        names = [f"gru.parts.{g}" for g in range(groups)] if groups > 1 else ["gru"]
        kept: tuple[list[NDArray[np.float32]], ...] = ([], [])
        for name in names:
            by_input = self.tensor(f"{name}.inputs", (1, 3 * units, units))[0]
            by_state = self.tensor(f"{name}.recurrent", (1, 3 * units, units))[0]
            given, own = self.tensor(f"{name}.biases", (1, 6 * units))[0].reshape(2, -1)
            given, own = given.copy(), own.copy()
            given[: 2 * units] += own[: 2 * units]
            own[: 2 * units] = 0.0
            kept[0].append(stored(by_input.T, given))
            kept[1].append(stored(by_state.T, own))
        for place, values in zip((GIVEN, RECURRENT), kept, strict=True):
            self.keep(place, np.concatenate(values))


def _rows(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (outputs, inputs, taps) as (taps * inputs, outputs)."""
    return weight.transpose(2, 1, 0).reshape(-1, weight.shape[0])


def whole(n: int) -> int:
    """Return ``n`` rounded up to whole panels."""
    return -(-int(n) // LANES) * LANES


def require(fits: bool, what: str) -> None:
    """Raise an :class:`UnfitError` that names the misfit, unless ``fits``."""
    if not fits:
        raise UnfitError(what)
