"""The networks of streams as lists of layers.

The causal network (speech, music) is what ``plc_training.networks.frames.FramesNet`` computes::

    spectra ─▶ features ─▶ enter ─▶ mix ─▶ recurrent ─▶ join ─▶ head ─▶ gains, magnitudes ─▶ fill
    (context and gap)     └ convolutions over 3 frames ┘└ the frames that touch the gap ┘

The bridging network (speech-bridge) is ``plc_training.networks.hybrid.HybridNet``::

    spectra ─▶ features ─▶ blocks down ─▶ recurrent, both ways ─▶ blocks up ─▶ head ─▶ fill
    (context, gap, context)  └──────────── levels beside ────────────┘ (the gap's frames)
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from plc_kernels.network import plan as at
from plc_kernels.network.plan import (
    FRAME_TAPS,
    MOST,
    TAPS,
    Layers,
    Rows,
    Tensors,
    require,
    whole,
)
from plc_kernels.network.product import (
    LANES,
    MOST_INPUTS,
    TILE_PANELS,
    TILE_ROWS,
    in_int8,
    in_panels,
    stored,
)

_TAPS = 3
_MOST_LEVELS = 8


def plan_frames(
    tensors: Tensors,
    *,
    drafts: int,
    bins: int,
    context_frames: int,
    frames: int,
    bands: int = 1,
    top_bin: bool = True,
    early_frames: int = 0,
    draft_share: float = 0.0,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the plan and the weights of a causal network.

    Parameters
    ----------
    tensors : mapping
        By name as the training has them (``enter.weight``, ``gru.parts.0.inputs``, …), the
        recurrent ones as ONNX has them.
    drafts, bins, context_frames, frames : int
        Sizes of its input; the gap begins behind the context.
    bands : int
        Number of bins in a band of the other drafts' features.
    top_bin : bool, whether it sees the topmost bin
    early_frames : int
        Frames that its early adapters change, where it has them.
    draft_share : float
        Share of the last draft in what it returns.

    Raises
    ------
    UnfitError
        If a tensor is missing or has another shape, or a size is one that the kernels do not take.
    """
    require(min(drafts, bins, bands, context_frames) >= 1, "its sizes")
    require(max(drafts, bins, frames) <= MOST, "its sizes")
    require(0.0 <= draft_share <= 1.0, "its share of the draft")
    touching = frames - context_frames
    require(touching >= TILE_ROWS, "too few frames")
    net = _Adapted(
        tensors,
        drafts=drafts,
        bins=bins,
        context=context_frames,
        frames=frames,
        touching=touching,
        used=bins - (not top_bin),
        bands=bands,
    )
    width = net.shape("mix.bias", 1)[0]
    groups = len({name.split(".")[2] for name in tensors if name.startswith("gru.parts.")}) or 1
    wide = bins + 2 * (drafts - 1) * -(-bins // bands) + 2
    require(width % LANES == 0 and width % groups == 0, "its width")
    require(max(wide, 2 * width) * _TAPS <= MOST_INPUTS, "its width")
    require(whole(3 * width // groups) >= TILE_PANELS * LANES, "its width")
    features, entered = net.rows(frames + 2, wide), net.rows(frames + 2, width)
    mixed = net.rows(frames + 1, 2 * width)
    inner, now = entered.part(1, frames), mixed.columns(0, width).part(0, frames)
    net.add(at.CLEAR, features.ends())
    net.add(at.FRAME_FEATURES, features.part(1, frames), net.spectra, scratch=3 * bins)
    net.convolution("enter", features, inner)
    net.add(at.LEAK, inner)
    net.add(at.CLEAR, entered.ends())
    net.convolution("mix", entered, now)
    net.add(at.LEAK, now)
    net.add(at.ADD, now, inner)
    states = mixed.columns(width, width).part(0, frames).apart(groups)
    _recur(net, groups, net.steps(now).apart(groups), states)
    net.add(at.CLEAR, mixed.part(frames, 1))
    if net.has("early_join.down.weight"):
        require(TILE_ROWS <= early_frames <= touching, "its early frames")
    joined = net.rows(touching, width)
    net.convolution("join", mixed.part(context_frames - 1, touching + 2), joined, early_frames)
    net.add(at.LEAK, joined)
    logits = net.rows(touching, whole((drafts + 1) * bins))
    net.convolution("head", joined, logits, early_frames, (drafts + 1) * bins)
    share = np.array([draft_share])
    net.add(at.FRAME_FILL, net.filled, logits, weights=share)
    return net.finish()


class _Adapted(Layers):
    """A list of layers that may have adapters of the first frames."""

    def convolution(
        self, name: str, x: Rows, y: Rows, early_frames: int = 0, outputs: int = 0
    ) -> None:
        """Add a convolution over as many frames as ``x`` has more than ``y``, and one.

        An adapter of the first frames makes the rows that their products begin with. ``outputs``
        are those of ``y`` that are not filled up, if not all are.
        """
        shape = x.channels, x.rows - y.rows + 1
        outputs = outputs or y.channels
        weight = _flat(self.tensor(f"{name}.weight", (outputs, *shape)))
        bias = self.tensor(f"{name}.bias", (outputs,))
        begun, inputs = None, self.steps(x).reaching(shape[1])
        if self.has(f"early_{name}.down.weight"):
            begun = self.rows(early_frames, y.channels)
            self._adapt(f"early_{name}", inputs, begun, shape, bias)
        self.product(stored(weight, bias), inputs, y, begun)

    def _adapt(
        self, name: str, x: Rows, y: Rows, shape: tuple[int, int], bias: NDArray[np.float32]
    ) -> None:
        """Add an adapter's products, with its layer's bias."""
        rank = self.shape(f"{name}.down.weight", 3)[0]
        low = self.rows(y.rows, whole(rank))
        weight = _flat(self.tensor(f"{name}.down.weight", (rank, *shape)))
        self.product(stored(weight, np.zeros(rank, np.float32)), x, low)
        weight = np.zeros((whole(rank), bias.size), np.float32)
        weight[:rank] = _flat(self.tensor(f"{name}.up.weight", (bias.size, rank, 1)))
        bias = bias + self.tensor(f"{name}.up.bias", (bias.size,))
        self.product(stored(weight, bias), self.steps(low), y)


def _recur(net: Layers, groups: int, x: Rows, y: Rows) -> None:
    units = y.channels
    names = [f"gru.parts.{g}" for g in range(groups)] if groups > 1 else ["gru"]
    inputs, states, biases = (
        np.concatenate([net.tensor(f"{name}.{each}", shape) for name in names])
        for each, shape in (
            ("inputs", (1, 3 * units, units)),
            ("recurrent", (1, 3 * units, units)),
            ("biases", (1, 6 * units)),
        )
    )
    net.recurrent(at.RECURRENT, inputs, states, biases, x, y)


def _flat(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (outputs, inputs, taps) as (taps * inputs, outputs)."""
    return weight.transpose(2, 1, 0).reshape(-1, weight.shape[0])


def plan_hybrid(
    tensors: Tensors,
    *,
    drafts: int,
    bins: int,
    frames: int,
    context_frames: int,
    context_frames_after: int,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the plan and the weights of a bridging network.

    Parameters
    ----------
    tensors : mapping
        By name as the training has them (``down.0.convolution.weight``, …), the recurrent ones and
        ``spread.weight`` as ONNX has them; ``places`` and ``times`` are features of bins and
        frames.
    drafts, bins, frames, context_frames, context_frames_after : int
        Sizes of its input; the gap lies between the contexts.

    Raises
    ------
    UnfitError
        If a tensor is missing or has another shape, or a size is one that the kernels do not take.
    """
    require(min(drafts, bins, context_frames) >= 1, "its sizes")
    require(max(drafts, bins, frames) <= MOST, "its sizes")
    require(context_frames_after >= 0, "its sizes")
    outputs = 2 * drafts + 1
    require(outputs <= LANES, "too many drafts")
    levels = len([name for name in tensors if name.startswith("down.") and "bias" in name])
    require(1 <= levels <= _MOST_LEVELS, "its levels")
    # Frames beside the gap are made, too, where there are some: blocks upwards see them.
    spare = min(2, context_frames_after)
    first = context_frames - spare
    touching = frames - context_frames - context_frames_after
    inner = touching + 2 * spare
    require(first >= 0 and inner >= TILE_ROWS and touching > 0, "too few frames")
    net = _Grids(
        tensors, drafts=drafts, bins=bins, context=context_frames, frames=frames, touching=touching
    )
    grid = net.grid(frames, bins, drafts + 2 * (drafts - 1) + 3)
    ramps = np.append(net.tensor("places", (bins,)), net.tensor("times", (frames,)))
    scratch = (drafts + 2) * bins
    net.add(at.BIN_FEATURES, grid, net.spectra, weights=ramps, scratch=scratch)
    beside = []
    for k in range(levels):
        beside.append(grid)
        made = net.channels(f"down.{k}")
        grid = net.grid(frames, (grid.bins + 1) // 2, made)
        net.convolution(f"down.{k}", beside[-1], None, grid)
    raised = net.recur(grid, first, inner)
    for k, skip in enumerate(reversed(beside)):
        grid = net.grid(inner, skip.bins, raised.channels)
        net.add(at.RAISE, grid, raised)
        raised = net.rows(inner, net.channels(f"up.{k}"), skip.bins)
        net.convolution(f"up.{k}", grid, skip.part(first, inner), raised)
    logits = net.rows(inner * bins, LANES)
    head = net.tensor("head.weight", (outputs, raised.channels, 1, 1))[:, :, 0, 0]
    weights = stored(head.T, net.tensor("head.bias", (outputs,)))
    net.product(weights, net.steps(raised).by_bin(), logits)
    net.add(at.BIN_FILL, net.filled, logits.part(spare * bins, touching * bins))
    return net.finish()


class _Grids(Layers):
    """A list of layers of grids."""

    def channels(self, name: str) -> int:
        channels = self.shape(f"{name}.convolution.bias", 1)[0]
        require(channels >= LANES and TAPS * channels <= MOST_INPUTS, "its channels")
        return channels

    def convolution(self, name: str, x: Rows, beside: Rows | None, y: Rows) -> None:
        """Add a block: its weights by source, frame and panel; a last panel may overlap others."""
        require(y.bins >= TILE_ROWS, "too few bins")
        sources = [x] if beside is None else [x, beside]
        taken, outputs = [each.channels for each in sources], y.channels
        weight = self.tensor(f"{name}.convolution.weight", (outputs, sum(taken), TAPS, FRAME_TAPS))
        numbers, scales = in_int8(weight.reshape(outputs, -1).T)
        whole_numbers = numbers.T.reshape(weight.shape)
        begins = [min(LANES * p, outputs - LANES) for p in range(-(-outputs // LANES))]
        panels = []
        for begin, count in zip((0, x.channels), taken, strict=False):
            for tap in range(FRAME_TAPS):
                some = whole_numbers[:, begin : begin + count, :, tap].transpose(2, 1, 0)
                rows = some.reshape(TAPS * count, outputs)
                panels += [in_panels(rows[:, k : k + LANES]) for k in begins]
        flat = np.concatenate(panels)
        bias = self.tensor(f"{name}.convolution.bias", (outputs,))
        ends = (0, -outputs % LANES)
        parts = np.pad(flat, (0, -flat.size % LANES)), np.pad(bias, ends), np.pad(scales, ends)
        steps = [
            replace(self.steps(each.bordered()), bins=each.bins, channels=each.channels)
            for each in sources
        ]
        self.add(
            at.CONVOLUTION,
            y,
            *steps,
            weights=np.concatenate(parts),
            scratch=2 * y.bins * outputs,
            operations=y.rows * y.bins * outputs * TAPS * FRAME_TAPS * sum(taken),
        )

    def recur(self, grid: Rows, first: int, inner: int) -> Rows:
        """Add the recurrent layer, both ways; return its output and the grid's, the inner frames.

        The lowest level's numbers are in our order.
        """
        bins, channels = grid.bins, grid.channels
        bottom = bins * channels
        units = self.shape("gru.recurrent", 3)[2]
        require(bottom % LANES == 0 and 3 * units % LANES == 0, "its width")
        require(3 * units >= TILE_PANELS * LANES, "its width")
        require(max(bottom, 2 * units) <= MOST_INPUTS, "its width")
        ours = np.arange(bottom).reshape(channels, bins).T.ravel()
        by_input = self.tensor("gru.inputs", (2, 3 * units, bottom))[:, :, ours]
        by_state = self.tensor("gru.recurrent", (2, 3 * units, units))
        biases = self.tensor("gru.biases", (2, 6 * units))
        below = grid.apart(1)
        states = self.rows(grid.rows, units, 2)
        self.recurrent(at.BOTH_WAYS, by_input, by_state, biases, self.steps(below), states)
        raised = self.rows(inner, channels, bins)
        spread = self.tensor("spread.weight", (2 * units, bottom))[:, ours]
        bias = self.tensor("spread.bias", (bottom,))[ours]
        taken = self.steps(states.part(first, inner).apart(1))
        self.product(stored(spread, bias), taken, raised.apart(1))
        self.add(at.ADD, raised, grid.part(first, inner))
        return raised
