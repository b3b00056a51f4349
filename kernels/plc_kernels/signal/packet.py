"""Conversion of packets, shape (n, channels), to the engine's rows and back."""

import math

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import kernel

INT16_SCALE = 32768.0
"""Full scale of int16: sample 1.0 as float32."""
CHANNELS_AT = 32
"""In the begin of a packet's missing part, the bits from here on are the channels that are missing;
none set: all of them."""

# +160 dBFS: not audio any more, and squares of it would overflow float32 in the fit.
LARGEST = np.float32(1e6)


@kernel
def unpack_float32(
    packet: NDArray[np.float32], begin: int, stop: int, out: NDArray[np.float32]
) -> bool:
    """Copy a float32 packet into rows; return whether every sample is finite and below 1e6.

    Parameters
    ----------
    packet : float32, shape (n, channels), as pushed
    begin, stop : int
        First sample to copy, and the one after the last.
    out : float32, shape (channels, n), written, a row for each channel
    """
    sound = True
    for c in range(out.shape[0]):
        row = out[c]
        for i in range(begin, stop):
            row[i] = packet[i, c]
            sound = sound and bool(math.fabs(packet[i, c]) < LARGEST)
    return sound


@kernel
def unpack_int16(
    packet: NDArray[np.int16], begin: int, stop: int, out: NDArray[np.float32]
) -> bool:
    """Copy an int16 packet into rows of full scale 1.0; always sound, hence True."""
    scale = np.float32(1.0 / INT16_SCALE)
    for c in range(out.shape[0]):
        row = out[c]
        for i in range(begin, stop):
            row[i] = np.float32(packet[i, c]) * scale
    return True


@kernel
def pack_float32(rows: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Copy rows, shape (channels, n), into a float32 packet."""
    for c in range(rows.shape[0]):
        row = rows[c]
        for i in range(row.size):
            out[i, c] = row[i]


@kernel
def pack_int16(rows: NDArray[np.float32], out: NDArray[np.int16]) -> None:
    """Round rows to an int16 packet, shape (n, channels), written; past full scale it clips.

    What :func:`unpack_int16` read comes out bit for bit.
    """
    scale = np.float32(INT16_SCALE)
    for c in range(rows.shape[0]):
        row = rows[c]
        for i in range(row.size):
            out[i, c] = np.int16(min(max(np.rint(row[i] * scale), -32768.0), 32767.0))
