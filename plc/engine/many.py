"""Many streams of one format in one call, for servers."""

import itertools
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plc.engine.config import OPEN, StreamConfig
from plc.engine.memory import StreamMemory
from plc.engine.methods import LADDER_METHODS, make_method, stream_models
from plc.engine.network_choice import step_networks
from plc.engine.networks import StepNetworks
from plc.engine.one_thread import OneThread
from plc.engine.prediction import StepPrediction
from plc.engine.samples import INT16, Packet, Samples, as_packets, check_arrived, check_out
from plc.engine.stats import Stats, in_words
from plc.engine.warm import warm_up
from plc.errors import ConfigError
from plc.predict.filler import Method
from plc.predict.ladder import SERVER, SERVER_DRAFTS, Ladders
from plc.processor_time import thread_clock
from plc.runtime import forks
from plc_kernels.stream.layout import FLAGS, PACKET, POSITION, PREPARED_AT, REFIT, TAKES
from plc_kernels.stream.many import step_many
from plc_kernels.stream.network import fill_part
from plc_kernels.stream.preparation import BETWEEN, expect_losses, look, prepare
from plc_kernels.stream.start import forget_stream
from plc_kernels.stream.step import CONCEALED, GO_ON, MORE, PUSH

_Result = TypeVar("_Result")

_step: Any = step_many
MAX_STREAMS = 65_536
# On steady content a fit serves so long: half of it would cost a quarter more, and gain little.
_REFIT_MS = 50.0
# In shorter packets most bursts are over before a network answers: it costs twenty times what
# prediction does, and is not heard (docs/notebook.md, "Networks on servers").
_SHORT_MS = 5.0
# Of the mean of the processor time of a preparation: the last of so many.
_COST_MEMORY = 16


class Concealers:
    """Many streams of one format, concealed by linear prediction, and of speech by a network.

    One call pushes a packet of each, in compiled code that holds no lock of Python's. The samples
    are those of as many :class:`~plc.Concealer` objects without a time limit, or streams of
    ``libplc``, whose only networks are those for speech.

    Parameters
    ----------
    streams : int
        1 to 65536.
    sample_rate, channels, packet_samples, lookahead, packet_ms
        As for :class:`~plc.StreamConfig`.
    method : str
        ``"server"``: linear prediction by two short rungs, for tens of microseconds a lost packet,
        and the network where packets are of 5 ms or more. ``"auto"``: the best rungs, for
        milliseconds, and the network. ``"ar"``: the best rungs alone. Or ``burg:ORDER_MS/PAST_MS``.
    model : str
        Network: ``"auto"`` takes that for speech at the sample rate, up to 96 kHz, for about a
        millisecond a burst of speech; ``"ar"`` takes none.
    threads : int
        That share the streams; 1 to 64.
    seed : int
        Of the first stream's noise; the others count on.

    Attributes
    ----------
    stats : tuple of Stats
        What happened so far in each stream.

    Raises
    ------
    ConfigError
        If a setting is out of range.

    Notes
    -----
    A context manager: leaving it is :meth:`close`. As a :class:`~plc.Concealer`, for one thread at
    a time, any one: a call while another is inside ``push``, ``reset`` or ``close`` raises
    :class:`~plc.errors.ConcurrentPushError` and changes nothing.

    Examples
    --------
    >>> mixer = Concealers(streams=3, sample_rate=48_000, packet_samples=64)
    >>> packets = np.zeros((3, 64, 1), np.float32)
    >>> mixer.push(packets, np.array([True, False, True])).shape
    (3, 64, 1)
    """

    def __init__(
        self,
        streams: int,
        sample_rate: int = 48_000,
        channels: int = 1,
        packet_samples: int = OPEN,
        lookahead: int = 0,
        *,
        packet_ms: float = OPEN,
        method: str = "server",
        model: str = "auto",
        threads: int = 1,
        seed: int = 0,
    ) -> None:
        if not 1 <= streams <= MAX_STREAMS:
            raise ConfigError(f"streams is {streams}; give 1 to {MAX_STREAMS}")
        if not 1 <= threads <= 64:
            raise ConfigError(f"threads is {threads}; give 1 to 64")
        self.config = config = StreamConfig(
            sample_rate=sample_rate,
            channels=channels,
            packet_samples=packet_samples,
            packet_ms=packet_ms,
            lookahead=lookahead,
            method="auto" if method == "server" else method,
            model=model,
            budget_ms=math.inf,
            seed=seed,
        )
        if model not in ("auto", "ar"):
            raise ConfigError(f"model is {model!r}; many streams take auto or ar")
        warm_up()
        short = method == "server" and config.packet_ms < _SHORT_MS
        networks = None if short else _networks_of(config)
        prepares = BETWEEN if networks is not None and not config.lookahead else 0
        chosen: Method
        if method == "server":
            rungs = SERVER if networks is None else SERVER_DRAFTS
            ladders = Ladders(sample_rate, channels, config.packet_samples, rungs=rungs)
            chosen = StepPrediction(ladders, networks, prepares)
        elif method in LADDER_METHODS:
            ladders = Ladders(sample_rate, channels, config.packet_samples)
            chosen = StepPrediction(ladders, networks, prepares)
        else:
            chosen = make_method(config, 0)
        if chosen.ladders is None:
            raise ConfigError(
                f"method is {method!r}; many streams take server, auto, ar or burg:ORDER_MS/PAST_MS"
            )
        first = StreamMemory(config, chosen)
        size, self._model = first.block.size, first.model
        self._blocks = np.zeros((streams, size), np.int64)
        memories = [StreamMemory(config, chosen, self._blocks[k], seed + k) for k in range(streams)]
        refit = round(sample_rate * _REFIT_MS / 1000.0) if method == "server" else 0
        self._blocks[:, REFIT] = refit
        self.stats = tuple(Stats(memory) for memory in memories)
        self._missing = np.zeros(2, np.int64)
        self._expected = np.zeros(streams)
        self._turns = np.zeros(streams, np.int64)
        self._turn = itertools.count(1)
        self._prepared: list[int] = []
        self._cost_s = 0.0
        self._cpu_clock = thread_clock()
        self._shape = (streams, config.packet_samples, channels)
        shares = min(threads, streams)
        bounds = np.linspace(0, streams, shares + 1).astype(int).tolist()
        self._shares = list(itertools.pairwise(bounds))
        self._pool = self._new_pool()
        self._generation = forks.generation
        self._inside = OneThread("Concealers")
        self._name = method

    def __enter__(self) -> Self:
        """Return the concealers."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close them."""
        self.close()

    def __repr__(self) -> str:
        """Return the format, the method and the counters of all streams."""
        config = replace(self.config, method=self._name)
        streams = len(self.stats)
        return f"<Concealers of {streams} streams of {config.in_words()}; {in_words(self.stats)}>"

    @property
    def delay(self) -> int:
        """Samples by which the output lags the input."""
        return self.config.lookahead * self.config.packet_samples

    @property
    def concealed(self) -> NDArray[np.bool_]:
        """True for each stream whose last packet was concealed, shape (streams,)."""
        made: NDArray[np.bool_] = self._blocks[:, FLAGS] & CONCEALED != 0
        return made

    def push(
        self, packets: Packet | Samples, arrived: ArrayLike, out: Packet | None = None
    ) -> Packet:
        """Take the next packet of every stream; return the packets to play.

        Parameters
        ----------
        packets : float32 or int16, shape (streams, packet_samples, channels)
            Of numpy or of a library with its array protocol. What is lost is not looked at.
        arrived : bool, shape (streams,)
            Which of them did.
        out : same dtype and shape, C-contiguous, optional
            Array to write to and return; may be ``packets``. Without it a new one is made.

        Raises
        ------
        PacketError
            If an array has another shape or dtype; no stream is advanced.
        ConcurrentPushError
            If another thread is inside, which goes on untouched.
        """
        self._enter()
        try:
            return self._push(packets, arrived, out)
        finally:
            self._inside.leave()

    def _push(self, packets: Packet | Samples, arrived: ArrayLike, out: Packet | None) -> Packet:
        whole: Any = np.ascontiguousarray(as_packets(packets, self._shape))
        there = check_arrived(arrived, self._shape[0])
        integer = whole.dtype == INT16
        if out is None:
            out = np.empty_like(whole)
        else:
            check_out(out, integer, self._shape)
        self._blocks[:, TAKES] = there
        given = whole.ctypes.data, whole.strides[0], integer, self._missing
        self._share(partial(self._push_share, given, out.ctypes.data))
        for k in self._prepared:
            self.stats[k].ahead.concealed_prepared += int(self._blocks[k, PREPARED_AT]) < 0
        self._prepared = []
        return out

    def _push_share(self, given: Any, out: int, first: int, stop: int) -> None:
        """Push the packets of a share of the streams, and have their networks fill losses."""
        blocks, model = self._blocks, self._model
        _step(blocks, PUSH, *given, 0, out, first, stop)
        for k in (first + np.flatnonzero(blocks[first:stop, FLAGS] & MORE)).tolist():
            while blocks[k, FLAGS] & MORE:
                fill_part(blocks[k], model, blocks[k, FLAGS])
                _step(blocks, GO_ON, *given, 0, out, k, k + 1)

    def _share(self, work: Callable[[int, int], _Result]) -> list[_Result]:
        """Do work on all streams: on those of each share in a thread."""
        if self._pool is None:
            return [work(0, self._shape[0])]
        others = [self._pool.submit(work, *share) for share in self._shares[1:]]
        own = work(*self._shares[0])
        wait(others)
        return [own, *(each.result() for each in others)]

    def prepare(self, budget_ms: float) -> int:
        """Prepare for losses in time that is left until the next packets; return for how many.

        A lost packet that was prepared takes the next :meth:`push` about 0.03 ms instead of 1 to 2;
        the samples are the same. Streams of speech are prepared, those first whose next packet is
        lost most likely, by their losses so far; those as likely, within a factor of two, in turn.
        Music, silence, and streams without a network or with lookahead need no preparation.

        Parameters
        ----------
        budget_ms : float
            Of this call, in each of its threads. What would take longer is not begun.

        Raises
        ------
        ConfigError
            If the time is below 0.
        ConcurrentPushError
            If another thread is inside.
        """
        if not budget_ms >= 0.0:
            raise ConfigError(f"budget_ms is {budget_ms}; give a time of 0 ms or more")
        self._enter()
        try:
            return self._prepare(perf_counter() + budget_ms / 1000.0)
        finally:
            self._inside.leave()

    def _prepare(self, end_s: float) -> int:
        if not self._model or self.config.lookahead:
            return 0
        expect_losses(self._blocks, self._expected)
        ready = [k for share in self._share(partial(self._prepare_share, end_s)) for k in share]
        for k in ready:
            self.stats[k].ahead.preparations += 1
        self._prepared += ready
        return len(ready)

    def _prepare_share(self, end_s: float, first: int, stop: int) -> list[int]:
        """Prepare streams of a share until a time; return them."""
        ready = []
        for k in self._in_order(first, stop):
            if perf_counter() + self._cost_s >= end_s:
                break
            began_s = self._cpu_clock()
            block = self._blocks[k]
            if look(block, block[POSITION] + block[PACKET]):
                block[PREPARED_AT] = prepare(block, self._model)
            self._cost_s += (self._cpu_clock() - began_s - self._cost_s) / _COST_MEMORY
            self._turns[k] = next(self._turn)
            ready.append(k)
        return ready

    def _in_order(self, first: int, stop: int) -> list[int]:
        """Return streams of a share, those first that most need a preparation."""
        expected = self._expected[first:stop]
        places = np.flatnonzero(expected)
        likeliest = -np.floor(np.log2(expected[places]))
        order = np.lexsort((self._turns[first + places], likeliest))
        ordered: list[int] = (first + places[order]).tolist()
        return ordered

    def reset(self, stream: int | None = None) -> None:
        """Make a stream as new, or all of them, statistics included.

        Raises
        ------
        ConfigError
            If there is no such stream.
        ConcurrentPushError
            If another thread is inside.
        """
        streams = range(self._shape[0])
        if stream is not None and stream not in streams:
            raise ConfigError(f"stream is {stream}; give 0 to {streams[-1]}, or None for all")
        self._enter()
        try:
            for k in streams if stream is None else (stream,):
                forget_stream(self._blocks[k])
                self.stats[k].reset()
                self._prepared = [each for each in self._prepared if each != k]
        finally:
            self._inside.leave()

    def close(self) -> None:
        """End the threads; the caller's does their work if more is pushed.

        Raises
        ------
        ConcurrentPushError
            If another thread is inside.
        """
        self._enter()
        try:
            if self._pool is not None:
                self._pool.shutdown()
                self._pool = None
        finally:
            self._inside.leave()

    def _enter(self) -> None:
        if self._inside.enter():
            for block in self._blocks:
                forget_stream(block)
            self._prepared = []
        if self._pool is not None and self._generation != forks.generation:
            self._pool = self._new_pool()
        self._generation = forks.generation

    def _new_pool(self) -> ThreadPoolExecutor | None:
        return ThreadPoolExecutor(len(self._shares) - 1) if len(self._shares) > 1 else None


def _networks_of(config: StreamConfig) -> StepNetworks | None:
    """Return the network for speech of many streams; None: there is none."""
    if config.method != "auto" or config.model == "ar":
        return None
    manifest = stream_models("auto", config.sample_rate)[0].get("speech")
    if manifest is None or manifest.content != "speech":  # music's hears all that is played
        return None
    found = step_networks(config, {"speech": manifest}, math.inf, optional=True)
    return found if found is not None and found.chosen else None
