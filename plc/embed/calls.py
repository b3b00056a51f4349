"""The calls behind ``libplc``: streams by number, errors as codes, memory of the caller's.

Each function has the C declaration of its name in :data:`DECLARATIONS`; none lets an exception
out. Of two calls for one stream at the same time the second is refused, as a wait would be a lock
in somebody's audio path.
"""

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from plc.embed.stream import EmbeddedConfig, EmbeddedStream, Format, as_packet
from plc.engine.config import StreamConfig
from plc.errors import ConcurrentPushError, ConfigError, PlcError

ERROR_ARGUMENT = -2
ERROR_SETTINGS = -3
ERROR_STREAM = -4
ERROR_BUSY = -5
ERROR_ROOM = -6
ERROR_INTERNAL = -7
_TEXT_ROOM = 1024  # ERROR_ROOM of libplc.c

DECLARATIONS = """
extern "Python" int64_t plc_python_open(plc_options *, char *);
extern "Python" int plc_python_push(int64_t, void *, void *, char *);
extern "Python" int64_t plc_python_delay(int64_t, char *);
extern "Python" int64_t plc_python_flush(int64_t, void *, uint64_t, char *);
extern "Python" int plc_python_stats(int64_t, plc_counters *, char *);
extern "Python" int plc_python_close(int64_t, char *);
"""

_COUNTERS = (
    "total_samples_received",
    "concealed_samples",
    "silent_concealed_samples",
    "concealment_events",
    "packets",
    "lost_packets",
    "invalid_packets",
    "crossfaded_samples",
    "bridged_samples",
    "deadline_misses",
    "rung_changes",
    "longest_burst_samples",
)


class _CallError(Exception):
    """A call that is refused: a code and a text."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class _Open:
    """A stream, and who is at work on it."""

    stream: EmbeddedStream
    lock: threading.Lock = field(default_factory=threading.Lock)


class Calls:
    """The functions behind the library.

    Parameters
    ----------
    ffi : cffi.FFI
        The library's, for reading and writing C memory.
    """

    def __init__(self, ffi: Any) -> None:
        self._ffi = ffi
        self._null = ffi.NULL
        self._streams: dict[int, _Open] = {}
        self._numbers = count(1)

    def bind(self) -> None:
        """Make these the functions that C calls."""
        for name in ("open", "push", "delay", "flush", "stats", "close"):
            self._ffi.def_extern(f"plc_python_{name}")(getattr(self, name))

    def open(self, options: Any, error: Any) -> int:
        """Return a new stream's number."""
        return self._guard(error, lambda: self._opened(options))

    def push(self, number: int, packet: Any, out: Any, error: Any) -> int:
        """Return the flags of a packet."""
        # The one in the audio path: without the guard's closure.
        try:
            opened = self._take(number)
            try:
                stream = opened.stream
                buffer, size = self._ffi.buffer, stream.packet_bytes
                given = None if packet == self._null else stream.view(buffer(packet, size))
                return stream.push(given, stream.view(buffer(out, size)))
            finally:
                opened.lock.release()
        except BaseException as fault:
            return self._say(error, fault)

    def delay(self, number: int, error: Any) -> int:
        """Return the samples by which the output lags."""

        def delay() -> int:
            opened = self._take(number)
            opened.lock.release()
            return opened.stream.tail_samples

        return self._guard(error, delay)

    def flush(self, number: int, out: Any, room: int, error: Any) -> int:
        """Return how many samples of each channel were written."""
        return self._guard(error, lambda: self._flushed(number, out, room))

    def stats(self, number: int, counters: Any, error: Any) -> int:
        """Fill in the counters; return 0."""
        return self._guard(error, lambda: self._counted(number, counters))

    def close(self, number: int, error: Any) -> int:
        """Close a stream; return 0."""

        def close() -> int:
            opened = self._take(number)  # and never given back
            del self._streams[number]
            opened.stream.close()
            return 0

        return self._guard(error, close)

    def _opened(self, options: Any) -> int:
        if options.format not in tuple(Format):
            raise ConfigError(f"format is {options.format}; PLC_FLOAT32 or PLC_INT16")
        if math.isnan(options.budget_ms):
            raise ConfigError("budget_ms is NaN; give a time above 0 ms, or INFINITY for no limit")
        config = StreamConfig(
            sample_rate=options.sample_rate,
            channels=options.channels,
            packet_samples=options.packet_samples,
            lookahead=options.lookahead,
            budget_ms=options.budget_ms or None,
            seed=options.seed,
            method=self._text(options, "method"),
            model=self._text(options, "model"),
        )
        stream = EmbeddedStream(EmbeddedConfig(stream=config, format=Format(options.format)))
        number = next(self._numbers)
        self._streams[number] = _Open(stream)
        return number

    def _text(self, options: Any, name: str) -> str:
        text = getattr(options, name)
        if text == self._null:
            return "auto"
        given: bytes = self._ffi.string(text)
        try:
            return given.decode()
        except UnicodeDecodeError:
            raise ConfigError(f"{name} is {given!r}; give UTF-8") from None

    def _take(self, number: int) -> _Open:
        opened = self._streams.get(number)
        if opened is None:
            raise _CallError(ERROR_STREAM, f"there is no stream {number}; was it closed?")
        if not opened.lock.acquire(blocking=False):
            raise _CallError(ERROR_BUSY, f"another thread is at work on stream {number}")
        return opened

    def _flushed(self, number: int, out: Any, room: int) -> int:
        opened = self._take(number)
        try:
            stream = opened.stream
            samples = stream.tail_samples
            if room < samples:
                raise _CallError(
                    ERROR_ROOM, f"there is room for {room} samples of {samples}: see plc_delay"
                )
            if samples:
                size = samples * stream.shape[1] * stream.config.format.dtype.itemsize
                stream.flush(as_packet(self._ffi.buffer(out, size), stream.config))
            return samples
        finally:
            opened.lock.release()

    def _counted(self, number: int, counters: Any) -> int:
        opened = self._take(number)
        try:
            stats = opened.stream.concealer.stats
            for name in _COUNTERS:
                setattr(counters, name, getattr(stats, name))
            for name, times in (("received", stats.good_time), ("concealed", stats.concealed_time)):
                setattr(counters, f"{name}_p50_ms", times.percentile_ms(50.0))
                setattr(counters, f"{name}_p99_ms", times.percentile_ms(99.0))
                setattr(counters, f"{name}_max_ms", times.max_ms)
            return 0
        finally:
            opened.lock.release()

    def _guard(self, error: Any, call: Callable[[], int]) -> int:
        try:
            return call()
        except BaseException as fault:
            return self._say(error, fault)

    def _say(self, error: Any, fault: BaseException) -> int:
        """Write an error's text to C memory; return its code."""
        code, text = ERROR_INTERNAL, repr(fault)
        if isinstance(fault, _CallError):
            code, text = fault.code, str(fault)
        elif isinstance(fault, ConcurrentPushError):
            code, text = ERROR_BUSY, str(fault)
        elif isinstance(fault, PlcError):
            code, text = ERROR_SETTINGS, str(fault)
        data = text.encode(errors="replace").replace(b"\0", b"?")[: _TEXT_ROOM - 1] + b"\0"
        self._ffi.memmove(error, data, len(data))
        return code
