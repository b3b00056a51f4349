"""Conceal the lost packets of one stream.

Each packet is pushed, lost ones as None, and as many samples come back, ``lookahead`` packets
later::

    packet | None ──▶ push ──▶ pending packets ──▶ history ──▶ output packet
                                     │ lost
                                     ▼
          EXTEND  the history is continued (linear prediction, a network)
          BRIDGE  the gap is filled from both sides: a packet after it is pending
          NOISE   only the background is left of a long burst

    level            1 ──────────────╮ hold           ╭── crossfade into the first
                                      ╲ fade          │   received samples
    background       ──────────────────╲──────────────┴──
                     │ burst begins                   │ recovery

A packet may arrive in part, as a block does that is cut from packets of another length: what is
there is played, and what is missing concealed, sample for sample.

The class does no input or output and reads no clocks but those it is given. After construction
nothing grows (temporaries of some KB come and go, and the array returned, unless the caller
brings one), no lock is taken, no kernel is compiled, and nothing that a packet holds can raise.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, ClassVar, Self, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from plc.compiled import DirectCall
from plc.engine.runtime.threads import OneThread
from plc.engine.runtime.worker import NetworkCounters
from plc.engine.stream import snapshots
from plc.engine.stream.config import OPEN, SETTINGS, StreamConfig, StreamSettings
from plc.engine.stream.dependencies import Dependencies
from plc.engine.stream.memory import StreamMemory
from plc.engine.stream.methods import bursts_ahead, make_method
from plc.engine.stream.packet_dropouts import DropoutFinder
from plc.engine.stream.samples import (
    FLOAT32,
    INT16,
    Behind,
    Bytes,
    Float32s,
    Int16s,
    Packet,
    Parts,
    Pushed,
    as_behind,
    as_packet,
    check_missing,
    check_out,
    know_all,
    mask_of,
    watch_scale,
)
from plc.engine.stream.stats import Description, Stats, in_words
from plc.engine.stream.warm import warm_up
from plc.errors import ConcurrentPushError, check_settings
from plc_kernels.stream import layout
from plc_kernels.stream.networks import fill_part
from plc_kernels.stream.start import CONCEALED as CONCEALED_TIME
from plc_kernels.stream.start import GOOD as GOOD_TIME
from plc_kernels.stream.start import forget_stream
from plc_kernels.stream.step import (
    CONCEALED,
    DRAIN,
    GO_ON,
    MORE,
    NEXT_LOST,
    PLAYED,
    PUSH,
    REFUSED,
    step_many,
)

_step = DirectCall(step_many)
_fill_part = DirectCall(fill_part)

_WHOLE: Any = ()
_POLL_S = 0.001
# Of copies: nothing is kept from who unpickles.
_COPY = bytes(snapshots.LEAST_KEY)


class Concealer:
    """A stream of packets in, the same stream without gaps out.

    Parameters
    ----------
    sample_rate : int, 8000 to 192000 Hz
    channels : int, 1 to 8
    packet_samples : int
        Samples of each channel in a packet: 1 ms of them (or 32) to 120 ms; by default 10 ms.
    lookahead : int
        Packets by which the output is delayed, so that gaps are filled from both sides.
    packet_ms : float, length of a packet instead of ``packet_samples``
    method : str
        One of :data:`~plc.METHODS`, or ``burg:ORDER_MS/PAST_MS``; ``"auto"`` by default.
    model : str
        Network: ``"auto"`` chooses by content, ``"ar"`` uses none; or a model's name or path.
    content : str
        What plays: ``"auto"`` (the default) hears it, ``"music"`` or ``"speech"`` says it.
    budget_ms : float or None
        Time a concealment may take; None (the default) is a quarter of the packet, ``inf`` no
        limit.
    seed : int, of the comfort noise
    provider : str
        Runs the network: ``"auto"`` (the default), ``"tensorrt"``, ``"cuda"`` or ``"cpu"``.
    prepare : str
        Prepares concealments before a loss: ``"auto"`` (the default), ``"always"`` or ``"never"``.
    detect_dropouts : bool
        Whether dropouts in received packets are concealed, too; False by default.
    clock : callable
        Returns seconds; only differences are used, and only for statistics and the deadlines of
        networks.
    cpu_clock : callable or None
        Returns seconds of processor time, by which rungs are chosen. None: the calling thread's,
        where the system counts it finely and no other ``clock`` is given; else that one.

    Attributes
    ----------
    stats : Stats, what happened so far
    lacking : deque of sequence of (int, int)
        Parts that had not arrived, of the packet returned last and of those held back behind it.

    Raises
    ------
    ConfigError
        If a setting is out of range.
    ModelError, MissingExtraError
        If a model that was asked for by name is not sound, or ONNX Runtime is not installed.

    Notes
    -----
    :class:`~plc.StreamConfig` says more of each setting. A context manager: leaving it is
    :meth:`close`.

    A stream is for one thread at a time, any one. A call while another is inside ``push``,
    ``flush``, ``reset``, ``close`` or ``snapshot``, such as a signal handler's, raises
    :class:`~plc.errors.ConcurrentPushError` and changes nothing; it never waits. Where an exception
    of a signal handler ends a call, the next one goes on.

    Examples
    --------
    >>> concealer = Concealer(sample_rate=48_000, channels=1, packet_samples=480)
    >>> packet = np.zeros((480, 1), np.float32)
    >>> concealer.push(packet).shape
    (480, 1)
    >>> concealer.push(None).shape  # lost: concealed
    (480, 1)
    >>> with Concealer(sample_rate=16_000, packet_samples=320, method="ar") as speech:
    ...     heard = speech.push(None)
    >>> speech.stats
    <Stats packets=1 lost_packets=1 concealed_samples=320 concealment_events=1>
    """

    dependencies: ClassVar[Dependencies] = Dependencies()

    def __init__(
        self,
        sample_rate: int = 48_000,
        channels: int = 1,
        packet_samples: int = OPEN,
        lookahead: int = 0,
        *,
        packet_ms: float = OPEN,
        clock: Callable[[], float] = time.perf_counter,
        cpu_clock: Callable[[], float] | None = None,
        **settings: Unpack[StreamSettings],
    ) -> None:
        check_settings("Concealer", settings, SETTINGS)
        self.config = StreamConfig(
            sample_rate=sample_rate,
            channels=channels,
            packet_samples=packet_samples,
            packet_ms=packet_ms,
            lookahead=lookahead,
            **settings,
        )
        warm_up()
        for kernel in (_step, _fill_part):
            kernel.settle()
        config = self.config
        counters = NetworkCounters()
        self._method = method = make_method(config, clock, counters, depends=self.dependencies)
        self._memory = memory = StreamMemory(config, method)
        method.attach(memory.block, memory.model, memory.rungs)
        self.stats = Stats(memory, counters)
        self._limit_ms = config.time_limit_ms
        self._served = MORE | (PLAYED if memory.block[layout.LISTENS] else 0)
        self._served *= int(memory.block[layout.NETWORK])
        self._ahead = bursts_ahead(config, memory, method, self.stats.ahead, self.dependencies)
        self._clock = clock
        if cpu_clock is None:
            cpu_clock = self.dependencies.cpu_clock() if clock is time.perf_counter else clock
        self._cpu_clock = cpu_clock
        self._inside = OneThread("Concealer")
        self._dropouts = DropoutFinder(config) if config.detect_dropouts else None
        self._block = memory.block
        # One word of these is read and written in half the time of an array's.
        self._words: Any = memory.block.data
        self._reals: Any = memory.numbers.data
        self._layout = snapshots.layout_of(memory.block)
        self._blocks = memory.block[None]
        self._float_box, self._int16_box = memory.box(np.float32), memory.box(np.int16)
        self._dtype: np.dtype[Any] = FLOAT32
        self._shape = self._float_box.shape
        packets = config.lookahead + 1
        self.lacking: deque[Parts] = deque((_WHOLE,) * packets, packets)
        self._scale_in = 0
        self._next_lost = False
        self._midway = False

    def __enter__(self) -> Self:
        """Return the concealer."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def __repr__(self) -> str:
        """Return the format, the method and the counters in a line."""
        return f"<Concealer of {self.config.in_words()}; {in_words([self.stats])}>"

    @property
    def delay(self) -> int:
        """Samples by which the output lags the input."""
        return self.config.lookahead * self.config.packet_samples

    @property
    def behind_samples(self) -> int:
        """Samples behind a lost packet that :meth:`push` makes use of, where they are known."""
        return int(self._words[layout.AHEAD]) * self.config.packet_samples

    @property
    def is_prepared(self) -> bool:
        """True if the next packet, lost, is played from samples that are made already.

        What becomes known behind it then changes nothing any more.
        """
        words = self._words
        if words[layout.IN_BURST] and not words[layout.RECOVERED]:
            return bool(words[layout.BRIDGE] > words[layout.BRIDGED])
        return self._ahead is not None and self._ahead.is_ready

    @property
    def made_up(self) -> NDArray[np.bool_]:
        """Samples of the packet returned last that had not arrived, shape (packet_samples,).

        Received samples are not among them, nor the crossfade into those behind a burst.
        """
        return mask_of(self.lacking[0], self.config.packet_samples)

    def reset(self) -> None:
        """Make the concealer as new: history, background, ladder and statistics."""
        with self._inside:
            self._forget()
            self.stats.reset()

    def _forget(self) -> None:
        self._method.reset()
        if self._ahead is not None:
            self._ahead.reset()
        forget_stream(self._block)
        self.lacking.extend((_WHOLE,) * len(self.lacking))
        if self._dropouts is not None:
            self._dropouts.forget()
        self._dtype = FLOAT32
        self._next_lost = False

    def describe(self) -> dict[str, Any]:
        """Return the format, methods and rungs with their cost, printed on several lines."""
        prepared = {} if self._ahead is None else {"prepared": self._ahead.describe()}
        named = ("sample_rate", "channels", "packet_samples", "lookahead")
        return Description(
            {name: getattr(self.config, name) for name in named},
            delay_ms=self.config.lookahead * self.config.packet_ms,
            budget_ms=self._limit_ms,
            method=self.config.method,
            **self._method.describe(),
            **prepared,
        )

    def close(self) -> None:
        """Prepare nothing more, and end threads of networks; a burst now gets the draft."""
        with self._inside:
            self._method.close()
            if self._ahead is not None:
                self._ahead.close()

    def snapshot(self, key: bytes) -> bytes:
        """Return the stream as bytes, from which :meth:`restore` makes one that goes on with it.

        A preparation that is under way is waited for, some milliseconds: this is not for the audio
        path. ``pickle`` and ``copy`` do the same, and keep the clocks; one that cannot be pickled
        is given to :meth:`restore`.

        Parameters
        ----------
        key : bytes
            At least 16, secret: for the signature.

        Raises
        ------
        ConfigError
            If the key is too short.
        """
        snapshots.check_key(key)
        with self._inside as lost:
            if lost:
                self._forget()
            while self._ahead is not None:
                try:
                    with self._ahead.second:
                        return self._packed(key)
                except ConcurrentPushError:
                    time.sleep(_POLL_S)
            return self._packed(key)

    def _packed(self, key: bytes) -> bytes:
        method, budget_ms = self._method, self.config.budget_ms
        state = {
            "flags": [self._dtype is INT16, self._next_lost, self._midway],
            "closed": self._ahead is not None and self._ahead.closed,
            "pace": method.pace.state,
            "counters": [asdict(self.stats.network), asdict(self.stats.ahead)],
        }
        # JSON has no infinity.
        settings = asdict(self.config) | {
            "budget_ms": None if budget_ms is None else f"{budget_ms}"
        }
        dropouts = self.stats.detected_dropouts
        head = snapshots.Head("Concealer", self._layout, settings, dropouts, state)
        return snapshots.pack(np.concatenate(self._arrays()), head, key)

    def _arrays(self) -> list[NDArray[np.int64]]:
        return [self._block] + ([] if self._dropouts is None else [self._dropouts.memory])

    @classmethod
    def restore(
        cls,
        snapshot: bytes,
        key: bytes,
        clock: Callable[[], float] = time.perf_counter,
        cpu_clock: Callable[[], float] | None = None,
    ) -> Self:
        """Return a stream of its own that goes on as that of a snapshot would.

        Without a time limit its samples are the same, on a processor of the same type.

        Parameters
        ----------
        snapshot : bytes, of :meth:`snapshot`
        key : bytes, that it is signed with
        clock, cpu_clock : callable, as for the class

        Raises
        ------
        SnapshotError
            If it was changed or cut, or is of another key, version, network or settings.
        ConfigError
            If the key is too short.
        """
        snapshots.check_key(key)
        head, body = snapshots.unpack(snapshot, key, "Concealer")
        with snapshots.of_its_settings():
            settings, state = dict(head.settings), head.state
            if settings["budget_ms"] is not None:
                settings["budget_ms"] = float(settings["budget_ms"])
            new = cls(clock=clock, cpu_clock=cpu_clock, **settings)
            snapshots.fill(new._arrays(), head, body, new._layout)
            integer, new._next_lost, new._midway = map(bool, state["flags"])
            new._dtype = INT16 if integer else FLOAT32
            new._method.pace.state = state["pace"]
            stats = new.stats
            stats.detected_dropouts = head.detected_dropouts
            counted: tuple[Any, ...] = stats.network, stats.ahead
            for counters, values in zip(counted, state["counters"], strict=True):
                for name in asdict(counters):
                    setattr(counters, name, int(values[name]))
            if state["closed"]:
                new.close()
        return new

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle by a snapshot."""
        return type(self).restore, (self.snapshot(_COPY), _COPY, self._clock, self._cpu_clock)

    def hurry(self, limit_ms: float) -> None:
        """Limit the time for a lost packet, until the next call.

        For a thread that has fallen behind, as one that serves many streams does when several
        lose a packet at once. Networks are left out meanwhile. ``limit_ms`` counts where it is
        less than the stream's own; ``inf``: that again.
        """
        self._memory.numbers[layout.HURRY_MS] = limit_ms

    # None alone is in all, which mypy tells; what may be lost is as what arrives.
    @overload
    def push(  # type: ignore[overload-overlap]
        self, packet: None, out: None = ..., missing: Parts = ..., behind: Behind = ...
    ) -> Packet: ...
    @overload
    def push(  # type: ignore[overload-overlap]
        self,
        packet: Float32s | None,
        out: Float32s | None = ...,
        missing: Parts = ...,
        behind: Behind = ...,
    ) -> Float32s: ...
    @overload
    def push(
        self,
        packet: Int16s | Bytes | None,
        out: Int16s | None = ...,
        missing: Parts = ...,
        behind: Behind = ...,
    ) -> Int16s: ...
    @overload
    def push(
        self, packet: Pushed, out: Packet | None = ..., missing: Parts = ..., behind: Behind = ...
    ) -> Packet: ...

    def push(
        self,
        packet: Pushed,
        out: Packet | None = None,
        missing: Parts = _WHOLE,
        behind: Behind = None,
    ) -> Packet:
        """Take the next packet; return the packet to play.

        If your jitter buffer holds the next packet, hand it over with the lost one: the hole is
        filled from both sides, at no delay.

        Parameters
        ----------
        packet : float32 or int16, shape (packet_samples, channels), or bytes, or None
            As received, of numpy or of a library with its array protocol, such as torch;
            ``(packet_samples,)`` will do for one channel. Bytes are int16 (little-endian), channels
            side by side; a ``memoryview`` of numbers is what its format says. None: lost, or not
            here in time. A packet with a sample that is NaN, infinite or above 1e6 counts as lost;
            with ``detect_dropouts``, so does what of it is a dropout.
        out : same dtype and shape (packet_samples, channels), optional
            Array to write to and return, C-contiguous; without it a new one is made.
        missing : sequence of (int, int), optional
            Parts of the packet that did not arrive: the first sample of each, and the one after
            its last; in order, with something between them. What stands there is not looked at.
            Several of them share the time that the stream has for one.
        behind : sequence of (int, float32 or int16 of shape (n, channels)), optional
            What is known behind the packet already, in place of what was known; None: nothing new.
            Of each stretch the samples between the packet's end and its first one, at most a
            second, and its samples. About 60 ms of a hole are bridged, and 40 ms behind it made
            use of. Push what is known here in its turn, too.

        Returns
        -------
        float32 or int16, shape (packet_samples, channels)
            Samples of ``delay`` before; silence for the first ``lookahead`` packets. The dtype
            is that of the last packet that arrived, float32 before any did.

        Raises
        ------
        PacketError
            If the packet or ``out`` has another shape or dtype, or ``missing`` is no such parts,
            or ``behind`` no such stretches; the stream is not advanced.
        """
        lost = self._inside.enter()
        try:
            if lost:
                self._forget()
            return self._push(packet, out, missing, behind)
        finally:
            self._inside.leave()

    def _push(self, packet: Pushed, out: Packet | None, missing: Parts, behind: Behind) -> Packet:
        began = self._clock()
        arrived: Packet | None
        dtype = self._dtype
        if type(packet) is np.ndarray and packet.dtype is dtype and packet.shape == self._shape:
            arrived = packet  # as the last one
        elif packet is None:
            arrived = None
        else:
            arrived = as_packet(packet, self.config)
            dtype = INT16 if arrived.dtype == INT16 else FLOAT32
        if missing is not _WHOLE:
            check_missing(missing, self.config)
        box = self._float_box if dtype is FLOAT32 else self._int16_box
        if out is not None:
            check_out(out, dtype is INT16, box.shape)
        if behind is not None:
            stretches = as_behind(behind, self.config)
            if stretches or self._words[layout.KNOWN_AT] >= 0:
                know_all(self._block, stretches)
        self._dtype = dtype
        if arrived is not None:
            box[...] = arrived if arrived.ndim > 1 else arrived.reshape(box.shape)
            if self._scale_in:
                self._scale_in -= 1
            else:
                self._scale_in = watch_scale(box)
        received = arrived is not None
        if self._dropouts is not None:
            received, missing = self._dropouts.look_through(box, received, missing, self.stats)
        # An unsound packet is not known to be lost before the step has looked at it.
        judged = self._next_lost or not received or bool(missing)
        if self._ahead is not None and self._ahead.offer() and not missing:
            judged = False  # nothing is fitted, as a rule
        if judged:
            cpu_began = self._cpu_clock()
        flags = self._step(PUSH, received, missing)
        whole = received and not flags & REFUSED
        self.lacking.append(tuple(missing) if whole else ((0, self.config.packet_samples),))
        if out is None:
            out = box.copy()
        else:
            out[...] = box
        elapsed_ms = 1e3 * (self._clock() - began)
        concealed = flags & CONCEALED != 0
        self._reals[layout.SPENT_MS] = elapsed_ms
        self._words[layout.TIMED] = CONCEALED_TIME if concealed else GOOD_TIME
        if concealed and elapsed_ms > self._limit_ms:
            self.stats.deadline_misses += 1
        method = self._method
        if concealed and judged and (self._words[layout.FITTED] or method.outside is not None):
            # What others did with the processor meanwhile says nothing about the rung.
            spent_ms = 1e3 * (self._cpu_clock() - cpu_began)
            self.stats.rung_changes += method.took(spent_ms > self._limit_ms)
        if not method.pace.settled or method.outside is not None:
            self.stats.rung_changes += method.pass_time(self.config.packet_ms)
        if self._ahead is not None:
            self._ahead.follow(concealed)
        return out

    def _step(self, action: int, arrived: bool, missing: Parts) -> int:
        """Replace the packet in the inbox by the one to play; return flags."""
        block, memory = self._words, self._memory
        if missing:
            memory.missing[: 2 * len(missing)] = [at for part in missing for at in part]
        block[layout.TAKES] = arrived
        was_interrupted = self._midway
        if was_interrupted and block[layout.WAITS]:  # a call was ended before its burst was fitted
            block[layout.IN_BURST] = 0
        self._midway = True
        inbox, integer, parts = memory.inbox, self._dtype is INT16, memory.missing
        flags: int = _step.run(
            self._blocks, action, inbox, 0, integer, parts, len(missing), inbox, 0, 1
        )
        if flags & self._served:
            flags = self._with_networks(flags)
        self._next_lost = flags & NEXT_LOST != 0
        self._midway = False
        return flags

    def _with_networks(self, flags: int) -> int:
        """Have the networks fill parts of the packet, and hear them; return the flags of all."""
        memory, integer = self._memory, self._dtype is INT16
        block, inbox, missing = memory.block, memory.inbox, memory.missing
        outside, together = self._method.outside, flags
        while True:
            if flags & self._served and outside is not None:
                outside.fill(flags)
            elif flags & self._served:
                _fill_part.run(block, memory.model, flags)
            if not flags & MORE:
                return together
            flags = _step.run(self._blocks, GO_ON, inbox, 0, integer, missing, 0, inbox, 0, 1)
            together |= flags

    def flush(self) -> Packet:
        """Return the packets still held, shape (delay, channels), and end the stream.

        Packets lost at the very end are concealed without a far side. The concealer is then as
        new, but for its statistics; without lookahead there is nothing to return.
        """
        with self._inside as lost:
            if lost:
                self._forget()
            return self._flush()

    def _flush(self) -> Packet:
        n = self.config.packet_samples
        box = self._int16_box if self._dtype is INT16 else self._float_box
        tail = np.empty((self.delay, self.config.channels), box.dtype)
        for begin in range(0, self.delay, n):
            self._step(DRAIN, False, ())
            tail[begin : begin + n] = box
        self._forget()
        return tail
