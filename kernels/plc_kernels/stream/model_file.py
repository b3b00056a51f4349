"""A model's file: shorter than the model in memory, where its numbers allow.

A model in memory is a block of words and arrays (:mod:`~plc_kernels.stream.model`). Its largest
part is int8 numbers, which the file holds as they are; of float32 numbers that are float16 numbers
it holds these. What is read from it is that block, bit for bit. It is words (int64, little-endian),
then parts of the block in their order::

    0         HEAD
    | named words | kind, words of the block … | part | part | … |

    part       int64 as they are, or float16 of the float32 numbers

A file may come from anywhere: nothing is read beyond its end or written beyond the block. Places
within the block are not taken from it but follow from the sizes, and these are checked.
"""

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import inlined, kernel, part
from plc_kernels.network import plan
from plc_kernels.network.check import is_sound
from plc_kernels.network.product import LANES
from plc_kernels.signal.contour import FEATURES
from plc_kernels.signal.history import copy
from plc_kernels.stream import model as of
from plc_kernels.stream.arrays import bits, doubles, floats, halves, words

MAGIC = int.from_bytes(b"plcmodl5", "little")
"""The first word: a file of this order of words."""
MAGIC_AT, BYTES, CHECKSUM, BLOCK_BYTES, PARTS = range(5)
"""The magic number; bytes of the file; sum of all words behind that one; bytes of the block; and
the number of parts."""
HEAD = 5
AS_IT_IS, HALF = range(2)
"""Kinds of parts."""
_MOST_WORDS = 1 << 24
# The widest layers of the network that expects a contour, and its largest number: no sum of it
# becomes infinite.
_WIDEST, _LARGEST, _LEAST_SCALE = 1024, 1e4, 1e-6

_lay_out_block = part(of.lay_out)


def pack(block: bytes) -> bytes:
    """Return a model's file, from the block of :func:`~plc_kernels.stream.model.flat_model`."""
    kinds, data = _parts(np.frombuffer(block, np.int64))
    words = np.zeros(HEAD, np.int64)
    words[[MAGIC_AT, BLOCK_BYTES]] = MAGIC, len(block)
    words[PARTS] = len(kinds)
    file = np.concatenate([words, np.array(kinds, np.int64).ravel(), *data])
    file[BYTES] = file.nbytes
    file[CHECKSUM] = file[CHECKSUM + 1 :].sum()
    return file.tobytes()


def _parts(block: NDArray[np.int64]) -> tuple[list[tuple[int, int]], list[NDArray[np.int64]]]:
    """Return kind and words of each part of a block, and its words in the file."""
    numbers = block.view(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        short = numbers.astype(np.float16)
        fits = short.astype(np.float32).view(np.int32) == numbers.view(np.int32)
        fits &= np.isfinite(short)
    fits_all = fits.reshape(-1, LANES).all(axis=1)
    ends = np.flatnonzero(np.diff(fits_all)) + 1
    kinds, data = [], []
    for run in np.split(np.arange(fits_all.size), ends):
        first, stop = run[0] * LANES, (run[-1] + 1) * LANES
        kind = HALF if fits_all[run[0]] else AS_IT_IS
        kinds.append((kind, (stop - first) // 2))
        data.append(short[first:stop].view(np.int64) if kind else block[first // 2 : stop // 2])
    return kinds, data


@kernel
def block_size(file: int, size: int) -> int:
    """Return the bytes of the block that a file makes; 0 if it is no whole file of a model.

    ``file`` is its address, a multiple of 8, and ``size`` its bytes.
    """
    count = size // 8
    if size % 8 or count < HEAD or count > _MOST_WORDS:
        return 0
    given = words(file, 0, count)
    if given[MAGIC_AT] != MAGIC or given[BYTES] != size or given[CHECKSUM] != _sum(given):
        return 0
    parts, block = given[PARTS], given[BLOCK_BYTES]
    if parts < 1 or parts > count:
        return 0
    at, made = HEAD + 2 * parts, 0
    if at > count:
        return 0
    for k in range(parts):
        kind, length = given[HEAD + 2 * k], given[HEAD + 2 * k + 1]
        if length < 1 or length > _MOST_WORDS:
            return 0
        if kind != AS_IT_IS and (kind != HALF or length % 2):
            return 0
        made += length
        at += length if kind == AS_IT_IS else length // 2
        if at > count:
            return 0
    if block != 8 * made or block < 8 * of.WORDS:
        return 0
    return int(block) if at == count else 0


@part
def _sum(given: NDArray[np.int64]) -> int:
    """Return the checksum of a file, or of a block, whose words stand in the same places."""
    total = 0
    for k in range(CHECKSUM + 1, given.size):
        total += given[k]
    return total


@kernel
def open_block(file: int, size: int, block: int) -> int:
    """Make the block of a model; return 1, or 0 if it is not sound.

    ``file`` and ``size`` are as for :func:`block_size`; ``block`` is the address of as many bytes
    as that told, a multiple of 8.
    """
    room = block_size(file, size)
    if room == 0:
        return 0
    given = words(file, 0, size // 8)
    at, made = file + 8 * (HEAD + 2 * given[PARTS]), block
    for k in range(given[PARTS]):
        length = given[HEAD + 2 * k + 1]
        if given[HEAD + 2 * k] == AS_IT_IS:
            copy(words(at, 0, length), words(made, 0, length))
            at += 8 * length
        else:
            _widen(halves(at, 0, 2 * length), bits(made, 0, 2 * length))
            at += 4 * length
        made += 8 * length
    return 1 if _is_sound(block, room) else 0


@inlined
def _wide(half: int) -> int:
    """Return a float16's float32, both as their bits."""
    low = half & 0x3FF
    exponent = half >> 10 & 31
    sign = (half & 0x8000) << 16
    if exponent:
        return sign | (exponent + 112) << 23 | low << 13
    if low == 0:
        return sign
    exponent = 113  # a number without the bit that others have before the point
    while low < 0x400:
        low <<= 1
        exponent -= 1
    return sign | exponent << 23 | (low & 0x3FF) << 13


@part
def _widen(given: NDArray[np.uint16], out: NDArray[np.uint32]) -> None:
    for i in range(given.size):
        out[i] = _wide(np.int64(given[i]))  # type: ignore[arg-type]  # numba: an int


@part
def _is_sound(block: int, size: int) -> bool:
    """Return whether a block is one that streams can use; write its places as its sizes say."""
    named = words(block, 0, of.WORDS)
    if named[of.MAGIC_AT] != of.MAGIC or not of.SPEECH <= named[of.CONTENT] <= of.MUSIC:
        return False
    lowest, highest = named[of.LOWEST_RATE], named[of.HIGHEST_RATE]
    if lowest < 1 or highest < lowest or highest > 192_000:
        return False
    reals = doubles(block, 0, of.WORDS)
    if not (1.0 <= reals[of.HORIZON_MS] <= 1000.0 and 1.0 <= reals[of.BIN_HZ] <= 1000.0):
        return False
    wide, narrow, count = named[of.CONTOUR_WIDE], named[of.CONTOUR_NARROW], named[of.N_WEIGHTS]
    follows = 0 if named[of.CONTENT] == of.MUSIC else 1  # a contour
    if min(wide, narrow) < follows or max(wide, narrow) > follows * _WIDEST:
        return False
    if count < 1 or count > size // 4 or not plan.HEAD <= named[of.N_PLAN] <= size // 8:
        return False
    if _lay_out_block(named) != size:
        return False
    if not _is_network(named, block + named[of.PLAN_AT]):
        return False
    contour = block + named[of.CONTOUR_AT]
    scale = floats(block + named[of.CONTOUR_AT + 1], 0, FEATURES)
    if not _are_small(floats(contour, 0, (block + size - contour) // 4)):
        return False
    for k in range(follows * FEATURES):
        if not scale[k] >= _LEAST_SCALE:
            return False
    return bool(named[of.CHECKSUM] == _sum(words(block, 0, size // 8)))


@part
def _is_network(named: NDArray[np.int64], at: int) -> bool:
    """Return whether the plan at an address is one that streams can use; write its sizes."""
    given = words(at, 0, named[of.N_PLAN])
    if not is_sound(given, named[of.N_WEIGHTS]):
        return False
    for k in range(plan.SIZES):
        named[of.DRAFTS + k] = given[k]
    if named[of.CONTENT] == of.SPEECH_BRIDGES:
        return bool(given[plan.DRAFTS] == of.BRIDGE_DRAFTS)
    rest = given[plan.FRAMES] - given[plan.CONTEXT]
    return bool(given[plan.DRAFTS] == of.BURST_DRAFTS and given[plan.TOUCHING] == rest)


@part
def _are_small(numbers: NDArray[np.float32]) -> bool:
    small = True
    for k in range(numbers.size):
        small &= bool(abs(numbers[k]) <= _LARGEST)
    return small
