"""The functions that C calls: a stream in one block of 64-bit words.

Received packets pass; a lost one is the packet before it at half its level.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types  # type: ignore[attr-defined]
from numba.extending import intrinsic
from numpy.typing import NDArray

from plc_kernels.compile import kernel
from plc_kernels.denormals import flush_denormals, restore_denormals

Words = NDArray[np.int64]

STATS = 32
_HEADER = 64
_RATE, _CHANNELS, _PACKET, _LOOKAHEAD = range(4)
_SETTINGS = 16
_SIZE, _AT, _LEVEL = 16, 17, 18


@intrinsic
def _pointer(_context: Any, address: Any) -> Any:
    """Return an address as a pointer."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.intp), generate


@kernel
def plck_size(settings: Words) -> int:
    """Return the bytes of a block, a multiple of 64; 0 if a setting is out of range."""
    rate, channels, packet = settings[_RATE], settings[_CHANNELS], settings[_PACKET]
    lookahead = settings[_LOOKAHEAD]
    if rate < 8000 or rate > 192_000 or channels < 1 or channels > 8 or lookahead < 0:
        return 0
    if packet < min(32, rate // 1000) or 1000 * packet > 120 * rate:
        return 0
    if lookahead > max(1, 2 * rate // packet):
        return 0
    return int(8 * _HEADER + (4 * packet * channels * (lookahead + 1) + 63) // 64 * 64)


@kernel
def plck_open(block: Words, settings: Words) -> None:
    """Begin a stream."""
    for i in range(_HEADER):
        block[i] = 0
    for i in range(_SETTINGS):
        block[i] = settings[i]
    block[_SIZE] = plck_size(settings)
    memory = _floats(block)
    for i in range(memory.size):
        memory[i] = np.float32(0.0)


@kernel
def plck_reset(block: Words) -> None:
    """Begin anew with the same settings."""
    plck_open(block, block)


@kernel
def plck_push(
    block: Words,
    packet: int,
    arrived: int,
    missing: Words,
    missing_count: int,
    out: int,
    integer: int,
) -> int:
    """Take a packet, write the due one, and return flags."""
    before = flush_denormals()
    n = block[_PACKET] * block[_CHANNELS]
    slots = block[_LOOKAHEAD] + 1
    memory = _floats(block)
    at = block[_AT] % slots * n
    last = (block[_AT] + slots - 1) % slots * n
    block[STATS] += block[_PACKET]
    block[STATS + 4] += 1
    flags = 0
    if arrived:
        if integer:
            whole = carray(_pointer(packet), n, np.int16)  # type: ignore[call-arg]
            for i in range(n):
                memory[at + i] = np.float32(whole[i]) * np.float32(1.0 / 32768.0)
        else:
            given = carray(_pointer(packet), n, np.float32)  # type: ignore[call-arg]
            for i in range(n):
                memory[at + i] = given[i]
        for k in range(missing_count):
            for i in range(
                missing[2 * k] * block[_CHANNELS], missing[2 * k + 1] * block[_CHANNELS]
            ):
                memory[at + i] = np.float32(0.0)
    else:
        flags = 1
        block[STATS + 1] += block[_PACKET]
        block[STATS + 5] += 1
        level = np.float32(np.exp(np.log(0.5)))
        for i in range(n):
            memory[at + i] = memory[last + i] * level
    block[_AT] += 1
    at = block[_AT] % slots * n
    if integer:
        short = carray(_pointer(out), n, np.int16)  # type: ignore[call-arg]
        for i in range(n):
            scaled = np.rint(memory[at + i] * np.float32(32768.0))
            short[i] = np.int16(min(max(scaled, -32768.0), 32767.0))
    else:
        made = carray(_pointer(out), n, np.float32)  # type: ignore[call-arg]
        for i in range(n):
            made[i] = memory[at + i]
    restore_denormals(before)
    return flags


@kernel
def plck_resume(block: Words, out: int, integer: int) -> int:
    """Go on after a draft was filled, and return flags."""
    return 0


@kernel
def _floats(block: Words) -> NDArray[np.float32]:
    """Return the samples behind the header."""
    address = block.ctypes.data + 8 * _HEADER
    return carray(_pointer(address), (block[_SIZE] - 8 * _HEADER) // 4, np.float32)  # type: ignore[call-arg]
