"""Small FLAC files of every kind, written by hand: RFC 9639, clauses 8 and 9.

No coder writes what old or faulty ones did: blocks of many sizes whose frames are numbered, headers
that state another length, depth or number of channels than their frames have.
"""

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

_SIZES = {192: 1, **{144 << k: k for k in range(2, 6)}, **{1 << k: k for k in range(8, 16)}}
_RATES = (88_200, 176_400, 192_000, 8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000)
_BITS = {8: 1, 12: 2, 16: 4, 20: 5, 24: 6, 32: 7}
# Two channels as a channel and a difference; the number is the frame's, the place the difference's.
_STEREO = {"left-side": (8, 1), "side-right": (9, 0), "mid-side": (10, 1)}
_RICE_BITS = 14


@dataclass
class FlacFile:
    """A FLAC file.

    Attributes
    ----------
    header : bytes
        The mark, and the metadata.
    frames : list of bytes
        Of audio.
    starts : list of int
        First sample of each frame, and the length.
    """

    header: bytes
    frames: list[bytes] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)

    def bytes(self) -> bytes:
        """Return all of it."""
        return self.header + b"".join(self.frames)


def flac_file(
    signal: Integers,
    rate: int = 48_000,
    bits: int = 16,
    blocks: int | Sequence[int] = 256,
    *,
    numbers: str = "frames",
    marked: bool | None = None,
    first: int = 0,
    subframe: str = "verbatim",
    stereo: str = "",
    telling: bool = True,
    **told: int,
) -> FlacFile:
    """Return a FLAC file.

    Parameters
    ----------
    signal : int64, shape (n, channels)
        Its samples.
    rate, bits : int
        In Hz; of a sample.
    blocks : int or sequence of int
        Samples of a frame, or of all frames in turn, again and again.
    numbers : str
        What a frame says of its place: ``frames`` before it, ``samples``, or ``nothing`` (zero).
    marked : bool, optional
        Whether frames have the mark of many sizes; by default those with numbers of samples.
    first : int
        What is added to every number.
    subframe : str
        ``verbatim``, ``constant``, or ``fixed`` (of order 2).
    stereo : str
        ``left-side``, ``side-right``, ``mid-side``, or channel by channel.
    telling : bool
        Whether frames state rate and depth; depths that have no code they never state.
    **told : int
        What the header states otherwise: ``least``, ``most``, ``rate_told``, ``channels_told``,
        ``bits_told``, ``samples``, ``md5`` (any number: a wrong one).
    """
    sizes = itertools.cycle([blocks] if isinstance(blocks, int) else blocks)
    made: list[bytes] = []
    starts = [0]
    of_many = numbers == "samples" if marked is None else marked
    while starts[-1] < len(signal):
        block = signal[starts[-1] : starts[-1] + next(sizes)]
        number = {"frames": len(made), "samples": starts[-1], "nothing": 0}[numbers] + first
        head = _frame_head(block, number, of_many, rate, bits, stereo, telling)
        made.append(_frame(head, block, bits, subframe, stereo))
        starts.append(starts[-1] + len(block))
    lengths = np.diff(starts)[:-1] if len(made) > 1 else np.diff(starts)
    channels = told.get("channels_told", int(signal.shape[1]))
    number = told.get("rate_told", rate) << 44 | channels - 1 << 41
    number |= (told.get("bits_told", bits) - 1 << 36) | told.get("samples", len(signal))
    width = -(-bits // 8)
    raw = b"".join(int(x).to_bytes(width, "little", signed=True) for x in signal.ravel())
    info = b"".join((
        told.get("least", int(lengths.min())).to_bytes(2, "big"),
        told.get("most", int(lengths.max())).to_bytes(2, "big"),
        bytes(6),
        number.to_bytes(8, "big"),
        told["md5"].to_bytes(16, "big") if "md5" in told else hashlib.md5(raw).digest(),
    ))  # fmt: skip
    return FlacFile(b"fLaC\x80\0\0\x22" + info, made, starts)


def _frame_head(
    block: Integers, number: int, marked: bool, rate: int, bits: int, stereo: str, telling: bool
) -> bytes:
    code = _SIZES.get(len(block), 7)
    rate_code = _RATES.index(rate) + 1 if telling and rate in _RATES else 0
    form = _STEREO[stereo][0] if stereo else block.shape[1] - 1
    bits_code = _BITS.get(bits, 0) if telling else 0
    head = bytes([0xFF, 0xF8 | marked, code << 4 | rate_code, form << 4 | bits_code << 1])
    head += _coded(number) + ((len(block) - 1).to_bytes(2, "big") if code == 7 else b"")
    return head + bytes([_crc8(head)])


def _coded(number: int) -> bytes:
    """Return a number as UTF-8 would, of up to 36 bits."""
    if number < 0x80:
        return bytes([number])
    more = next(k for k in range(1, 7) if number < 1 << 6 * k + max(0, 6 - k))
    lead = 0xFF & ~((1 << 7 - more) - 1)
    tail = (0x80 | number >> 6 * k & 0x3F for k in range(more)[::-1])
    return bytes([lead | number >> 6 * more, *tail])


def _frame(head: bytes, block: Integers, bits: int, subframe: str, stereo: str) -> bytes:
    wide = -1
    if stereo:
        left, right = block.T
        wide = _STEREO[stereo][1]
        middle = {"left-side": left, "side-right": right, "mid-side": left + right >> 1}[stereo]
        pair = (left - right, middle) if wide == 0 else (middle, left - right)
        block = np.stack(pair, axis=1)
    written = "".join(
        _subframe(column, bits + (channel == wide), subframe)
        for channel, column in enumerate(block.T)
    )
    written += "0" * (-len(written) % 8)
    frame = head + int("1" + written, 2).to_bytes(len(written) // 8 + 1, "big")[1:]
    return frame + _crc16(frame).to_bytes(2, "big")


def _subframe(samples: Integers, bits: int, kind: str) -> str:
    def plain(values: Integers) -> str:
        return "".join(format(int(value) & (1 << bits) - 1, f"0{bits}b") for value in values)

    if kind == "constant":
        return "00000000" + plain(samples[:1])
    if kind == "verbatim" or len(samples) <= 2:
        return "00000010" + plain(samples)
    rest = samples[2:] - 2 * samples[1:-1] + samples[:-2]
    folded = [2 * int(x) if x >= 0 else -2 * int(x) - 1 for x in rest]
    low = (1 << _RICE_BITS) - 1
    rice = f"0{_RICE_BITS}b"
    coded = "".join("0" * (x >> _RICE_BITS) + "1" + format(x & low, rice) for x in folded)
    return "00010100" + plain(samples[:2]) + "00" + "0000" + format(_RICE_BITS, "04b") + coded


def _table(bits: int, polynomial: int) -> list[int]:
    table = []
    for crc in range(0, 256 << bits - 8, 1 << bits - 8):
        for _ in range(8):
            crc = crc << 1 ^ polynomial if crc >> bits - 1 else crc << 1
            crc &= (1 << bits) - 1
        table.append(crc)
    return table


_CRC_8, _CRC_16 = _table(8, 0x07), _table(16, 0x8005)


def _crc8(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc = _CRC_8[crc ^ byte]
    return crc


def _crc16(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc = crc << 8 & 0xFFFF ^ _CRC_16[crc >> 8 ^ byte]
    return crc
