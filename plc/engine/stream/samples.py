"""Checks of pushed packets and signals."""

import logging
from collections.abc import Mapping, Sequence
from numbers import Integral
from operator import index
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from plc.engine.stream.config import FILE_MAX_CHANNELS, MAX_CHANNELS, StreamConfig
from plc.errors import PacketError
from plc.notice import tell
from plc_kernels.signal.packet import LARGEST
from plc_kernels.stream.fill_limit import know

Float32s = NDArray[np.float32]
Int16s = NDArray[np.int16]
Packet = Float32s | Int16s
Bytes = bytes | bytearray | memoryview
Parts = Sequence[tuple[int, int]]
"""Parts of a packet: the first sample of each, and the one after its last."""

FLOAT32, INT16 = np.dtype(np.float32), np.dtype(np.int16)
_TAKEN = "float32 (full scale 1.0) or int16"
_BYTES = "B", "c"
# What bytes may be, by how many there are for a sample, and what mends that.
_MENDED: dict[float, str] = {
    1: ": of µ-law, push plc.transport.rtp.codecs.G711('pcmu').decode(packet)",
    4: ": of float32, push np.frombuffer(packet, np.float32)",
}

FAR_ABOVE = 16.0
"""Of float32 samples: no recording is so loud where full scale is 1."""
_SCALE_EVERY = 8  # packets of a stream
_NOTHING = np.zeros((0, 1), FLOAT32)


class Samples(Protocol):
    """Samples of another library, such as a tensor of torch: an array by ``__array__``."""

    def __array__(self) -> NDArray[Any]:
        """Return the samples."""


Pushed = Packet | Samples | Bytes | None
Behind = Sequence[tuple[int, Packet | Samples]] | None
"""What is known behind a lost packet: samples of distance from its end, and the samples."""


def of_bytes(data: Bytes, channels: int, name: str) -> NDArray[Any]:
    """Return a buffer's numbers, channels side by side, by its format; of bytes, int16."""
    try:
        view = memoryview(data)
        typed = view.format not in _BYTES
        array = np.asarray(view) if typed else np.frombuffer(view.tobytes(), "<i2")
        return array.reshape(-1, channels) if array.ndim == 1 else array
    except ValueError as error:  # also of a view that was released
        taken = f"bytes of int16 (little-endian), {channels} channels"
        raise PacketError(f"{name} cannot be read: {error}; give {taken}") from error


def as_packet(packet: Packet | Samples | Bytes, config: StreamConfig) -> Packet:
    """Return a packet as an array of numpy; raise :class:`PacketError` unless it is of the stream.

    ``packet`` is float32 or int16, shape (packet_samples, channels), or (packet_samples,) for one;
    of numpy, or what has its array protocol or that of DLPack; or as :func:`of_bytes` takes it.
    """
    n, channels = config.packet_samples, config.channels
    if isinstance(packet, Bytes):
        array = of_bytes(packet, channels, "packet")
    else:
        array = as_array(packet, "packet")
    if array.dtype not in (FLOAT32, INT16):
        raise PacketError(
            f"packet is {array.dtype}; push a numpy array of {_TAKEN}, or None for a lost packet"
            + _mended("packet", array.dtype)
        )
    if array.shape != (n, channels) and not (channels == 1 and array.shape == (n,)):
        mended = ""
        if isinstance(packet, Bytes):
            mended = _MENDED.get(memoryview(packet).nbytes / (n * channels), "")
        elif array.shape == (channels, n):
            mended = ": channels come last here, so push packet.T"
        elif array.shape == (n * channels,):
            mended = f": push packet.reshape({n}, {channels})"
        raise PacketError(
            f"packet has shape {array.shape}; this stream takes ({n}, {channels}), "
            f"packet_samples={n}, channels={channels} at {config.sample_rate} Hz{mended}"
        )
    return array


def mask_of(parts: Parts, samples: int) -> NDArray[np.bool_]:
    """Return which samples of a packet some parts have, shape (samples,)."""
    mask = np.zeros(samples, np.bool_)
    for start, stop in parts:
        mask[start:stop] = True
    return mask


def as_signal(signal: Packet | Samples, *, is_pushed: bool = False) -> Packet:
    """Return a whole signal as a numpy array; raise :class:`PacketError` for others.

    ``signal`` is float32 or int16, shape (n,) or (n, channels), of numpy, or what has its array
    protocol or that of DLPack. ``is_pushed``: a stream gets it, which tells its scale.
    """
    array = as_array(signal, "signal")
    known = array.dtype in (FLOAT32, INT16)
    if not known or array.ndim not in (1, 2) or not array.size:
        raise PacketError(
            f"signal is {array.dtype} {array.shape}; give {_TAKEN} of shape (n,) or "
            f"(n, channels), n > 0{'' if known else _mended('signal', array.dtype)}"
        )
    # A row of samples for each channel: more than a stream has, in fewer samples than channels.
    most = max(MAX_CHANNELS, array.shape[0])
    if array.ndim == 2 and array.shape[0] <= FILE_MAX_CHANNELS and array.shape[1] > most:
        raise PacketError(
            f"signal has shape {array.shape}; channels come last here, at most "
            f"{FILE_MAX_CHANNELS} of them: give signal.T"
        )
    if not is_pushed:
        tell_scale(array)
    return array


def tell_scale(samples: Packet) -> bool:
    """Return whether samples are far above full scale; report it."""
    if samples.dtype != FLOAT32:
        return False
    # What is lost may be NaN, which max would return.
    highest = np.fmax.reduce(samples, axis=None, initial=0.0)
    far = bool(max(highest, -np.fmin.reduce(samples, axis=None, initial=0.0)) > FAR_ABOVE)
    if far:
        tell(
            f"float32 samples are above {FAR_ABOVE:g}, where full scale is 1.0; if they were "
            "integers of 16 bits, give them as int16, or divided by 32768",
            logging.WARNING,
        )
    return far


def watch_scale(samples: Packet) -> int:
    """Look at a packet's scale; return after how many others to do so again, below 0: never."""
    return -1 if tell_scale(samples) else _SCALE_EVERY - 1


def as_array(values: Any, name: str) -> NDArray[Any]:
    """Return samples as an array, in the same memory where that is possible.

    Raises
    ------
    PacketError
        If it has no array protocol, its memory cannot be read from here, or some of it is masked.
    """
    if type(values) is np.ndarray:
        return values
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise PacketError(
            f"{name} has masked samples, which would be played; give {name}.data, and what is "
            f"missing as None, by a trace or gaps, or as NaN: {name}.filled(np.nan)"
        )
    try:
        is_typed = isinstance(values, memoryview) and values.format not in _BYTES
        if is_typed or hasattr(values, "__array__"):
            return np.asarray(values)
        if hasattr(values, "__dlpack__"):
            return np.from_dlpack(values)
    except Exception as error:  # what another library raises: on a GPU, part of a graph, bfloat16
        raise PacketError(
            f"{name} is {type(values).__name__}, which numpy cannot read: {error}; give samples "
            f"in this machine's memory, such as {name}.detach().cpu() of torch"
        ) from error
    mended = ""
    if isinstance(values, list | tuple):
        mended = f": give np.asarray({name}, np.float32)"
    elif isinstance(values, bytes | bytearray | memoryview):
        mended = f": give np.frombuffer({name}, np.int16).reshape(-1, channels)"
    raise PacketError(
        f"{name} is {type(values).__name__}; give a numpy array of {_TAKEN}, or a tensor{mended}"
    )


def _mended(name: str, dtype: np.dtype[Any]) -> str:
    """Return the line that mends samples of another dtype, or nothing."""
    if dtype.kind == "f":
        return f": give np.asarray({name}, np.float32)"
    if dtype.newbyteorder("=") == INT16:
        return f": give np.asarray({name}, np.int16)"
    if dtype.kind == "u" and dtype.itemsize == 1:
        return f": give (np.asarray({name}, np.float32) - 128) / 128"
    if dtype == np.int64:
        return f": where its samples have 16 bits, give np.asarray({name}, np.int16)"
    if dtype.kind == "i":
        bits = 8 * dtype.itemsize - 1
        return f": where 2**{bits} is full scale, give np.asarray({name} / 2**{bits}, np.float32)"
    return ""


def as_packets(packets: Packet | Samples, shape: tuple[int, int, int]) -> Packet:
    """Return packets of many streams as an array; raise :class:`PacketError` if they are none.

    ``packets`` are float32 or int16, of ``shape`` (streams, packet_samples, channels); of numpy, or
    what has its array protocol or that of DLPack.
    """
    array = as_array(packets, "packets")
    known = array.dtype in (FLOAT32, INT16)
    if not known or array.shape != shape:
        mended = "" if known else _mended("packets", array.dtype)
        if known and array.shape == (shape[0], shape[2], shape[1]):
            mended = ": channels come last here, so push np.swapaxes(packets, 1, 2)"
        elif known and array.shape == shape[:2] and shape[2] == 1:
            mended = ": push packets[..., None]"
        raise PacketError(
            f"packets is {array.dtype} {array.shape}; push {_TAKEN} of shape {shape}: streams, "
            f"packet_samples, channels{mended}"
        )
    return array


def are_sound(packets: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which packets' samples are finite and not too large: bool, shape (streams,)."""
    values = packets.reshape(len(packets), -1)
    with np.errstate(all="ignore"):
        sound: NDArray[np.bool_] = np.vecdot(values, values) < LARGEST * LARGEST
        for at in np.flatnonzero(~sound).tolist():
            sound[at] = np.abs(values[at]).max() < LARGEST
    return sound


def check_arrived(arrived: Any, streams: int) -> NDArray[np.bool_]:
    """Return which packets arrived: bool, shape (streams,), or raise PacketError."""
    there = arrived if isinstance(arrived, np.ndarray) else np.asarray(arrived)
    if there.shape != (streams,) or there.dtype != np.bool_:
        raise PacketError(
            f"arrived is {there.dtype} {there.shape}; give bool of shape ({streams},), one for "
            "each stream: True where its packet came"
        )
    return there


def check_missing(missing: Parts, config: StreamConfig) -> None:
    """Raise a :class:`PacketError` unless these are parts of a packet, in order."""
    n = config.packet_samples
    at = -1
    try:
        if not isinstance(missing, Sequence):  # it is gone through again
            raise TypeError
        for begin, stop in missing:
            if not at < index(begin) < index(stop) <= n:
                raise ValueError
            at = stop
    except (TypeError, ValueError):
        raise PacketError(
            f"missing is {missing}; give parts of 0 to {n} in order, (begin, stop) "
            "each, with something between them"
        ) from None


def check_missing_many(missing: Mapping[int, Parts], streams: int, config: StreamConfig) -> None:
    """Raise a :class:`PacketError` unless these are parts of packets, by their places."""
    for at in _places_of(missing, streams, "missing"):
        check_missing(missing[at], config)


def _places_of(given: Mapping[int, Any], streams: int, name: str) -> list[int]:
    """Return the places of packets that something is said of; raise :class:`PacketError`."""
    if not isinstance(given, Mapping):
        raise PacketError(
            f"{name} is {type(given).__name__}; give parts by place, such as {{3: [(0, 120)]}}"
        )
    for at in given:
        if not (isinstance(at, Integral) and 0 <= at < streams):
            raise PacketError(f"{name} has parts of packet {at!r}; there are {streams}")
    return [int(at) for at in given]


def as_behind(behind: Behind, config: StreamConfig) -> list[tuple[int, Packet]]:
    """Return the known stretches behind a lost packet; raise :class:`PacketError` for others.

    Each distance is 0 to a second's samples, and the samples float32 or int16, shape (n, channels),
    or (n,) for one channel.
    """
    found: list[tuple[int, Packet]] = []
    try:
        for distance, samples in behind or ():
            array = as_signal(samples, is_pushed=True)
            rows: Any = np.ascontiguousarray(array if array.ndim > 1 else array[:, np.newaxis])
            sound = rows.dtype == INT16 or np.abs(rows).max() < LARGEST
            if not (rows.shape[1] == config.channels and sound):
                raise ValueError(f"{rows.shape} samples{'' if sound else ', not all finite'}")
            if not 0 <= index(distance) <= config.sample_rate:
                raise ValueError(f"a distance of {distance}")
            found.append((index(distance), rows))
    except (TypeError, ValueError) as error:
        raise PacketError(
            f"behind has {error}; give (distance, samples) each: 0 to {config.sample_rate} samples "
            f"from the packet's end on, and finite samples of shape (n, {config.channels})"
        ) from None
    return found


def as_behind_many(
    behind: Mapping[int, Behind], streams: int, config: StreamConfig
) -> list[tuple[int, list[tuple[int, Packet]]]]:
    """Return the known stretches behind packets, with their places, as :func:`as_behind` does."""
    return [(at, as_behind(behind[at], config)) for at in _places_of(behind, streams, "behind")]


def know_all(block: NDArray[np.int64], stretches: list[tuple[int, Packet]]) -> None:
    """Let a stream, given as its block, know these stretches behind its next packet, no others."""
    for distance, rows in stretches or [(0, _NOTHING)]:
        know(block, rows.ctypes.data, rows.dtype == INT16, len(rows), distance)


def check_out(out: Packet, integer: bool, shape: tuple[int, ...]) -> None:
    """Raise a :class:`PacketError` unless ``out`` takes such samples."""
    wanted = INT16 if integer else FLOAT32
    if (
        not isinstance(out, np.ndarray)
        or out.shape != shape
        or out.dtype != wanted
        or not out.flags.c_contiguous
        or not out.flags.writeable
    ):
        raise PacketError(f"out must be a writable C-contiguous {wanted} array of shape {shape}")
