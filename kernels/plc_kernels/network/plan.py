"""A network as a list of layers, which :func:`~plc_kernels.network.layers.run_network` runs.

Two arrays are a network: ``plan`` (int64) and ``weights`` (float32, in the order in which products
read them). Both are written once and read by all streams. A run has a caller's memory ``work``
(float32, ``plan[WORK]`` numbers): what is scratch memory of each layer, then rows. ::

    plan    | sizes | layers: KIND, WEIGHTS, INPUT, OUTPUT, BESIDE | views of rows: RowView |

:class:`Layers` makes the list; a network is a function that adds its layers to one
(:mod:`~plc_kernels.network.architectures`). A list may come from anywhere:
:mod:`~plc_kernels.network.check` reads it before it is run.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import part
from plc_kernels.network.product import LANES, stored

_HEAD = (
    *("drafts", "bins", "context", "frames", "touching", "work", "operations"),
    *("used", "bands", "scratch", "layers", "views"),
)
DRAFTS, BINS, CONTEXT, FRAMES, TOUCHING, WORK, OPERATIONS, USED, BANDS, SCRATCH, LAYERS, VIEWS = (
    range(len(_HEAD))
)
"""Drafts; bins of a spectrum; frames before the gap, all, and those that a run makes; numbers of
its memory, and its multiply-adds; bins that the network sees, and bins in a band of the other
drafts; numbers of scratch memory; layers; views."""
HEAD = len(_HEAD)
"""Where the layers begin."""
SIZES = USED
"""Sizes that a model has in its own words, too."""

KIND, WEIGHTS, INPUT, OUTPUT, BESIDE = range(5)
"""Words of a layer: its kind; where its weights lie; numbers of the views that it reads and writes;
and of another one that it reads, or NONE."""
LAYER_WORDS = VIEW_WORDS = 5
NONE, SPECTRA, FILLED = range(3)
"""Views that all networks have: of nothing; of the drafts, a row for a frame of a draft; and of the
frames that touch the gap, which the last layer writes."""

(
    FRAME_FEATURES,
    BIN_FEATURES,
    STEPS,
    PRODUCT,
    RECURRENT,
    BOTH_WAYS,
    CONVOLUTION,
    RAISE,
    LEAK,
    ADD,
    CLEAR,
    FRAME_FILL,
    BIN_FILL,
) = range(13)
"""Kinds of layers: features of frames, or of their bins; rows in whole steps; products of these;
recurrent layers, forwards, or the second backwards; a convolution of a grid, leaking; each bin
twice; leaking rows; rows that are added; zeros; and the drafts with the weights, of frames or of
bins, that the layers before made."""

MOST = 1 << 15
"""The largest size of anything: beyond, a run's memory would have no bound."""
TAPS, FRAME_TAPS = 5, 3
"""Bins and frames that a convolution of a grid reaches."""
BORDER = TAPS // 2
"""Bins of zeros on either side of a grid's frame."""


class RowView(NamedTuple):
    """Rows of the memory of a run."""

    place: int
    """Of the first number. Whole steps lie there, two a number, and their size one before it."""
    rows: int
    step: int
    """From row to row; less than a row where rows overlap."""
    bins: int
    channels: int
    """A row has as many for each bin, side by side."""


@part
def view_of(plan: NDArray[np.int64], number: int) -> RowView:
    """Return a view of a plan."""
    at = HEAD + LAYER_WORDS * plan[LAYERS] + VIEW_WORDS * number
    return RowView(plan[at], plan[at + 1], plan[at + 2], plan[at + 3], plan[at + 4])


class UnfitError(ValueError):
    """The weights do not fit such a network."""


@dataclass(frozen=True, slots=True)
class Rows:
    """A view in the making: of a memory whose place is not known yet, else as :class:`RowView`."""

    memory: int
    at: int
    rows: int
    step: int
    bins: int
    channels: int

    def part(self, first: int, rows: int) -> "Rows":
        """Return some of the rows."""
        return replace(self, at=self.at + first * self.step, rows=rows)

    def columns(self, first: int, channels: int) -> "Rows":
        """Return some channels of rows that have one bin."""
        return replace(self, at=self.at + first, channels=channels)

    def ends(self) -> "Rows":
        """Return the first row and the last."""
        return replace(self, rows=2, step=(self.rows - 1) * self.step)

    def reaching(self, taps: int) -> "Rows":
        """Return rows that are ``taps`` neighbours each, of rows that lie side by side."""
        return replace(self, rows=self.rows - taps + 1, channels=taps * self.channels)

    def apart(self, bins: int) -> "Rows":
        """Return the same channels as so many bins, rows that have one."""
        return replace(self, bins=bins, channels=self.bins * self.channels // bins)

    def by_bin(self) -> "Rows":
        """Return a row for each bin, of rows that lie side by side."""
        return replace(self, rows=self.rows * self.bins, step=self.channels, bins=1)

    def bordered(self) -> "Rows":
        """Return a grid's frames with the zeros around them."""
        border = BORDER * self.channels
        return replace(self, at=self.at - border, bins=1, channels=self.step)

    def borders(self) -> "Rows":
        """Return the zeros before a grid's frames, between them, and behind them."""
        border = 2 * BORDER * self.channels
        return replace(self, at=self.at - border, rows=self.rows + 1, bins=1, channels=border)


Tensors = Mapping[str, NDArray[Any]]


class Layers:
    """A list in the making: the layers added so far, their rows and weights.

    Parameters
    ----------
    tensors : mapping, by name
    sizes : int
        By name the words of a plan that no layer says: drafts, bins, context, frames, touching;
        used and bands where a network does not see all.
    """

    def __init__(self, tensors: Tensors, **sizes: int) -> None:
        self._tensors = tensors
        self._sizes = sizes
        self._layers: list[tuple[int, int, Rows, Rows, Rows]] = []
        self._weights: list[NDArray[np.float32]] = []
        self._memories: list[int] = []
        self._scratch = 0
        self._operations = 0
        spectrum = 2 * sizes["bins"]
        self._none = Rows(self._memory(0), 0, 0, 0, 0, 0)
        self.spectra = self.rows(sizes["drafts"] * sizes["frames"], spectrum)
        self.filled = self.rows(sizes["touching"], spectrum)

    def rows(self, rows: int, channels: int, bins: int = 1) -> Rows:
        """Return rows of their own."""
        memory = self._memory(rows * bins * channels)
        return Rows(memory, 0, rows, bins * channels, bins, channels)

    def grid(self, frames: int, bins: int, channels: int) -> Rows:
        """Return rows of their own with borders, and clear these."""
        border = BORDER * channels
        step = bins * channels + 2 * border
        memory = self._memory(frames * step + 2 * border)
        made = Rows(memory, 2 * border, frames, step, bins, channels)
        self.add(CLEAR, made.borders())
        return made

    def _memory(self, size: int) -> int:
        self._memories.append(whole(size))
        return len(self._memories) - 1

    def add(
        self,
        kind: int,
        output: Rows,
        taken: Rows | None = None,
        beside: Rows | None = None,
        *,
        weights: NDArray[Any] | None = None,
        scratch: int = 0,
        operations: int = 0,
    ) -> None:
        """Add a layer; ``scratch`` and ``operations`` are numbers and multiply-adds it takes."""
        place = sum(each.size for each in self._weights)
        if weights is not None:
            some = np.zeros(whole(weights.size), np.float32)
            some[: weights.size] = weights.ravel()
            self._weights.append(some)
        self._layers.append((kind, place, taken or self._none, output, beside or self._none))
        self._scratch = max(self._scratch, whole(scratch))
        self._operations += operations

    def steps(self, x: Rows) -> Rows:
        """Add a layer that takes rows in whole steps; return these, side by side."""
        count = x.bins * x.channels
        memory = self._memory(LANES + x.rows * count // 2 + 1)
        made = Rows(memory, LANES, x.rows, count, x.bins, x.channels)
        self.add(STEPS, made, x)
        return made

    def product(
        self,
        weights: NDArray[np.float32],
        x: Rows,
        y: Rows,
        begin: Rows | None = None,
    ) -> None:
        """Add a product of weights as :func:`~.product.stored` makes them."""
        done = y.rows * x.channels * y.channels
        self.add(PRODUCT, y, x, begin, weights=weights, operations=done)

    def recurrent(
        self,
        kind: int,
        inputs: NDArray[Any],
        states: NDArray[Any],
        biases: NDArray[Any],
        x: Rows,
        y: Rows,
    ) -> None:
        """Add recurrent layers side by side, of weights as ONNX has them.

        Biases that are only added are added up.
        """
        units, gates = y.channels, whole(3 * y.channels)
        given, own = biases[:, : 3 * units].copy(), biases[:, 3 * units :].copy()
        given[:, : 2 * units] += own[:, : 2 * units]
        own[:, : 2 * units] = 0.0
        layers = [stored(w.T, b) for w, b in zip(inputs, given, strict=True)]
        layers += [stored(w.T, b) for w, b in zip(states, own, strict=True)]
        self.add(
            kind,
            y,
            x,
            weights=np.concatenate(layers),
            scratch=(y.rows + 1) * gates + 2 * whole(units),
            operations=y.rows * y.bins * gates * (x.channels + units),
        )

    def finish(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the plan and the weights."""
        taken = (view for layer in self._layers for view in layer[2:])
        views = dict.fromkeys([self._none, self.spectra, self.filled, *taken])
        numbers = {view: number for number, view in enumerate(views)}
        layers = [(*layer[:2], *(numbers[view] for view in layer[2:])) for layer in self._layers]
        places, work = self._places()
        rows = [(places[v.memory] + v.at, v.rows, v.step, v.bins, v.channels) for v in views]
        rows[NONE] = 0, 0, 0, 0, 0
        sizes = {"used": self._sizes["bins"], "bands": 1} | self._sizes
        sizes |= {"work": work, "operations": self._operations, "scratch": self._scratch}
        sizes |= {"layers": len(layers), "views": len(views)}
        head = [sizes[name] for name in _HEAD]
        plan = np.array([*head, *np.ravel(layers), *np.ravel(rows)], np.int64)
        return plan, np.concatenate(self._weights)

    def _places(self) -> tuple[list[int], int]:
        """Return where memories lie, and the numbers of all; two in use together lie apart."""
        first: dict[int, int] = {}
        last: dict[int, int] = {}
        for k, layer in enumerate(self._layers):
            for view in layer[2:]:
                first.setdefault(view.memory, k)
                last[view.memory] = k
        for view in (self._none, self.spectra, self.filled):
            first[view.memory], last[view.memory] = 0, len(self._layers)
        places: list[int] = []
        for memory, size in enumerate(self._memories):
            place = self._scratch
            for other, begin in sorted(enumerate(places), key=lambda each: each[1]):
                meets = first[other] <= last[memory] and first[memory] <= last[other]
                if meets and place < begin + self._memories[other] and begin < place + size:
                    place = begin + self._memories[other]
            places.append(place)
        return places, max(a + b for a, b in zip(places, self._memories, strict=True))

    def has(self, name: str) -> bool:
        """Return whether there is a tensor."""
        return name in self._tensors

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


def whole(n: int) -> int:
    """Return ``n`` rounded up to whole panels."""
    return -(-int(n) // LANES) * LANES


def require(fits: bool, what: str) -> None:
    """Raise an :class:`UnfitError` that names the misfit, unless ``fits``."""
    if not fits:
        raise UnfitError(what)
