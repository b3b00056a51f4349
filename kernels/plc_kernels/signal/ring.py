"""A lock-free ring of samples between a sound card and the engine.

One side writes, the other reads, each at its own pace; each owns one counter and only reads the
other's. A ring is one block of memory, so that a single pointer tells a C callback all of it::

    int64 header[HEADER] | float32 samples[capacity][channels]

:func:`device_callback` makes such callbacks: machine code with PortAudio's signature that copies
between the device and a ring and keeps count. It needs neither Python nor its lock, and so plays
and records through whatever Python does meanwhile, as long as the ring lasts. It always fills its
output.

The counters are published behind fences: a side that sees the other's counter moved sees the
samples, too, also on processors that reorder stores.
"""

import ctypes
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import carray, intrinsic, ir, kernel, types
from plc_kernels.build.library import FUNCTIONS

HEADER = 16
CAPACITY, CHANNELS, WRITTEN, READ, MISSED, CALLBACKS, PASSED, LARGEST, FLAGGED = range(9)
"""Words of the header, all in samples of each channel but for the numbers of channels and calls:
what fits; what was written and read in all; what found no room, or was not there to be played;
callbacks; what the device has taken or given in all, and at most at once; callbacks in which
PortAudio reported a break (an xrun)."""

# Where the samples begin, in float32 from the start of the block; paContinue.
_BEGIN = 2 * HEADER
_CONTINUE = 0


def _make_fence(_context: Any) -> tuple[Any, Any]:
    """Order all loads and stores, in the compiler and the processor."""

    def generate(_context: Any, builder: Any, _signature: Any, _arguments: Any) -> Any:
        builder.fence("seq_cst")
        return ir.Constant(ir.IntType(32), 0)

    return types.int32(), generate


_fence: Any = intrinsic(_make_fence)


@kernel
def write_ring(
    header: NDArray[np.int64], ring: NDArray[np.float32], samples: NDArray[np.float32]
) -> int:
    """Write the samples that fit; return their number per channel.

    Parameters
    ----------
    header : int64, shape (HEADER,), read and written
        Counters; the other side may move its own meanwhile.
    ring : float32, shape (capacity * channels,), written
        The samples, one channel's next to the other's.
    samples : float32, shape (n * channels,), what to write
    """
    channels = header[CHANNELS]
    room = header[CAPACITY] - (header[WRITTEN] - header[READ])
    _fence()
    n = min(samples.size // channels, room)
    place = header[WRITTEN] % header[CAPACITY] * channels
    for i in range(n * channels):
        ring[place] = samples[i]
        place += 1
        if place == ring.size:
            place = 0
    _fence()
    header[WRITTEN] += n
    return int(n)


@kernel
def read_ring(
    header: NDArray[np.int64], ring: NDArray[np.float32], samples: NDArray[np.float32]
) -> int:
    """Read up to all of ``samples``; return the number of each channel.

    Parameters
    ----------
    header, ring : as for :func:`write_ring`
    samples : float32, shape (n * channels,), written
        As far as there was something; the rest is left as it is.
    """
    channels = header[CHANNELS]
    there = header[WRITTEN] - header[READ]
    _fence()
    n = min(samples.size // channels, there)
    place = header[READ] % header[CAPACITY] * channels
    for i in range(n * channels):
        samples[i] = ring[place]
        place += 1
        if place == ring.size:
            place = 0
    _fence()
    header[READ] += n
    return int(n)


@kernel
def take_in(
    header: NDArray[np.int64],
    ring: NDArray[np.float32],
    flagged: bool,
    samples: NDArray[np.float32],
) -> None:
    """Work of an input's callback: write its samples, count those without room.

    Parameters
    ----------
    header, ring : as for :func:`write_ring`
    flagged : bool, whether the device reports a break
    samples : float32, shape (n * channels,), what the device gives
    """
    n = samples.size // header[CHANNELS]
    written = write_ring(header, ring, samples)
    header[MISSED] += n - written
    _note_call(header, n, flagged)


@kernel
def give_out(
    header: NDArray[np.int64],
    ring: NDArray[np.float32],
    flagged: bool,
    samples: NDArray[np.float32],
) -> None:
    """Work of an output's callback: read samples, fill up with silence, count.

    Parameters
    ----------
    header, ring, flagged : as for :func:`take_in`
    samples : float32, shape (n * channels,), written, what the device plays
    """
    n = samples.size // header[CHANNELS]
    read = read_ring(header, ring, samples)
    for i in range(read * header[CHANNELS], samples.size):
        samples[i] = 0.0
    header[MISSED] += n - read
    _note_call(header, n, flagged)


@kernel
def _note_call(header: NDArray[np.int64], n: int, flagged: bool) -> None:
    header[PASSED] += n
    header[CALLBACKS] += 1
    header[FLAGGED] += flagged
    header[LARGEST] = max(header[LARGEST], n)


@cache
def device_callback(is_input: bool) -> int:
    """Return the address of a ``PaStreamCallback``, which records (``is_input``) or plays.

    Its user data is a ring's block of memory. Where the package does not bring it, it is compiled
    at the first call of the process, in about a second; it stays for its whole life.
    """
    if FUNCTIONS is not None:
        return int(FUNCTIONS["record" if is_input else "play"])
    from numba import cfunc

    # An unsigned long has 32 bits on Windows; what stands above them in the register is anything.
    long = types.uint64 if ctypes.sizeof(ctypes.c_ulong) == 8 else types.uint32
    pointer = types.voidptr
    signature = types.int32(pointer, pointer, long, pointer, long, pointer)
    callback = cfunc(signature)(_record if is_input else _play)
    _compiled.append(callback)
    assert callback.address is not None
    return callback.address


# Whoever holds an address only does not keep the code alive.
_compiled: list[Any] = []


def _record(given: Any, _out: Any, n: int, _time: Any, flags: int, block: Any) -> int:
    header = carray(block, (HEADER,), np.int64)
    ring = carray(block, (_BEGIN + header[CAPACITY] * header[CHANNELS],), np.float32)[_BEGIN:]
    samples = carray(given, (np.int64(n) * header[CHANNELS],), np.float32)
    take_in(header, ring, flags != 0, samples)
    return _CONTINUE


def _play(_given: Any, out: Any, n: int, _time: Any, flags: int, block: Any) -> int:
    header = carray(block, (HEADER,), np.int64)
    ring = carray(block, (_BEGIN + header[CAPACITY] * header[CHANNELS],), np.float32)[_BEGIN:]
    samples = carray(out, (np.int64(n) * header[CHANNELS],), np.float32)
    give_out(header, ring, flags != 0, samples)
    return _CONTINUE
