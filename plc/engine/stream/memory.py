"""A stream's block of memory, and Python's views."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from plc.engine.predict.ladder import Ladders
from plc.engine.stream.concealment import StepPrediction
from plc.engine.stream.config import CONTENTS, StreamConfig
from plc.errors import not_copied
from plc_kernels.stream import layout, preparation
from plc_kernels.stream.networks import open_network
from plc_kernels.stream.start import open_stream

_WORD = 8
_ALIGNED = 64


class StreamMemory:
    """The block of :mod:`plc_kernels.stream.layout` for one stream.

    Parameters
    ----------
    config : StreamConfig, of the stream
    method : StepPrediction, what conceals
    memory : int64, shape (n,), or None, where the block is to be; None: in memory of its own
    seed : int or None, of the comfort noise; None: that of ``config``

    Attributes
    ----------
    block : int64, shape (n,), all of it; the words are named in :mod:`plc_kernels.stream.layout`
    numbers : float64, shape (REAL_WORDS,), the numbers among the words
    model : int, address of its networks' blocks; 0: it has none
    inbox : int, address of the packet that goes in and of the one that comes out
    rungs : tuple of str, names by which concealed samples are counted
    """

    def __init__(
        self,
        config: StreamConfig,
        method: StepPrediction,
        memory: NDArray[np.int64] | None = None,
        seed: int | None = None,
    ) -> None:
        header = header_of(config)
        numbers = header[layout.REALS :].view(np.float64)
        header[layout.SEED : layout.SEED + 1].view(np.uint64)[0] = (
            config.seed if seed is None else seed
        ) % 2**64
        header[layout.FROM_ONSETS] = method.from_onsets
        header[layout.CONTENT] = CONTENTS.index(config.content)
        header[layout.FILLS_NOISE] = method.fills_noise and config.content != "speech"
        header[layout.REFIT] = round(config.sample_rate * method.refit_ms / 1000.0)
        self.rungs = (*method.names, "noise")
        header[layout.NOISE_RUNG] = len(method.names)
        _write_ladders(method.ladders, header, numbers)
        networks = method.step_networks
        if networks is not None and not networks.chosen:
            networks = None
        of_networks = None if networks is None else networks.models
        self.model = 0 if of_networks is None else of_networks.address
        if networks is None:
            size = layout.lay_out(header)
        else:
            header[layout.NETWORK_RUNG] = len(self.rungs)
            self.rungs += networks.names
            header[layout.HEARD_LATER] = method.prepares == preparation.SHARING
            size = networks.lay_out(header)
        if method.prepares:
            size = preparation.add_second(header, method.prepares)
        if memory is None:
            own = np.empty((size + _ALIGNED) // _WORD, np.int64)
            begin = (-own.ctypes.data % _ALIGNED) // _WORD
            memory = own[begin : begin + size // _WORD]
        memory.fill(0)  # all of it touched now, not page by page while audio runs
        self.block: NDArray[np.int64] = memory
        self.block[: layout.HEADER] = header
        self.numbers = self.block[layout.REALS : layout.HEADER].view(np.float64)
        self.numbers[layout.LIMIT_MS] = config.time_limit_ms
        open_stream(self.block)
        if networks is not None:
            self.numbers[layout.NETWORK_MS : layout.NETWORK_MS + 3] = networks.costs_ms()
            open_network(self.block)
        if method.prepares:
            preparation.open_second(self.block, method.prepares)
        self.inbox = self.block.ctypes.data + int(self.block[layout.INBOX])
        self.missing = self.array(layout.MISSING).reshape(-1)
        self.bridge = self.array(layout.BRIDGE_ROWS)
        self.counters = self.block[layout.STATS : layout.STATS + len(layout.COUNTERS)]
        self.rung_samples = self.block[layout.RUNG_SAMPLES : layout.LADDER]

    __reduce_ex__ = not_copied("copy the words of its block into that of another")

    def array(self, word: int) -> NDArray[Any]:
        """Return an array of the block, as :mod:`plc_kernels.stream.layout` names it."""
        return layout.TABLE.view(self.block, word)

    def box(self, dtype: type) -> Any:
        """Return the inbox as an array, shape (packet_samples, channels)."""
        box = self.array(layout.INBOX)
        return box.reshape(-1).view(dtype)[: box.size].reshape(box.shape)

    @property
    def times(self) -> tuple[tuple[NDArray[np.int64], NDArray[np.float64]], ...]:
        """Bins and longest duration of received packets, and of concealed ones."""
        bins = self.array(layout.TIMES)
        return tuple(
            (bins[k], self.numbers[most : most + 1])
            for k, most in enumerate((layout.GOOD_MAX_MS, layout.CONCEALED_MAX_MS))
        )


def header_of(config: StreamConfig) -> NDArray[np.int64]:
    """Return a header with a stream's format."""
    header = np.zeros(layout.HEADER, np.int64)
    header[layout.RATE] = config.sample_rate
    header[layout.CHANNELS] = config.channels
    header[layout.PACKET] = config.packet_samples
    header[layout.LOOKAHEAD] = config.lookahead
    return header


def _write_ladders(
    ladders: Ladders, header: NDArray[np.int64], numbers: NDArray[np.float64]
) -> None:
    names = ladders.names
    header[layout.STEADY_STEPS] = len(ladders.steady)
    header[layout.UNSTEADY_STEPS] = len(ladders.unsteady)
    for first, steps in ((0, ladders.steady), (layout.MAX_STEPS, ladders.unsteady)):
        for k, step in enumerate(steps, first):
            at = layout.LADDER + 3 * k
            header[at : at + 3] = step.order, step.past, names.index(step.rung.name)
            numbers[layout.COSTS + k] = step.cost_ms
