"""Conceal the losses of a signal that is there as a whole."""

import math
from typing import Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plc.engine.spans import gaps_of, lost_spans
from plc.engine.stream.concealer import Concealer
from plc.engine.stream.config import OPEN, SETTINGS, StreamSettings
from plc.engine.stream.samples import Packet, Samples, as_signal, mask_of
from plc.errors import PacketError, check_settings


def conceal(
    signal: Packet | Samples,
    lost: ArrayLike,
    *,
    sample_rate: int = 48_000,
    packet_samples: int = OPEN,
    packet_ms: float = OPEN,
    lookahead: int = 0,
    made_up: NDArray[np.bool_] | None = None,
    **settings: Unpack[StreamSettings],
) -> Packet:
    """Return a signal with its lost packets concealed.

    Parameters
    ----------
    signal : float32 or int16, shape (n,) or (n, channels)
        Samples, of numpy or of a library with its array protocol, such as torch. What stands where
        it is lost is not looked at. The last packet may be short.
    lost : bool, shape (packets,) or (n,), or a sequence of (start, stop)
        A trace, True where a packet is lost, of as many packets as the signal has. Or a mask,
        True where a sample is lost. Or gaps in samples, stop excluded.
    sample_rate, packet_samples, packet_ms, lookahead, method, model, content, budget_ms, seed
        And others, as for :class:`~plc.StreamConfig`. The delay of the lookahead is taken out; by
        default there is no limit of time and no preparation, so that the result does not depend
        on the machine.
    made_up : bool, shape (n,), optional
        Written: True where a sample had not arrived, or was refused (NaN, infinite, above 1e6).

    Returns
    -------
    float32 or int16, shape of ``signal``
        An array of numpy: received samples as they were, but for the crossfade after each burst.

    Raises
    ------
    PacketError
        If the signal's shape or dtype is not one of the above.
    TraceError
        If the trace is not of the signal's packets, or no trace.
    ConfigError
        If a setting is out of range, or a gap is not within the signal.

    Examples
    --------
    >>> music = np.zeros((48_000, 2), np.float32)
    >>> trace = np.zeros(100, bool)
    >>> trace[40:43] = True  # the packets lost
    >>> conceal(music, trace, sample_rate=48_000, packet_ms=10).shape
    (48000, 2)
    >>> conceal(music, [(19_200, 20_000)]).shape  # the samples lost
    (48000, 2)
    """
    check_settings("conceal", settings, (each for each in SETTINGS if each != "channels"))
    signal = as_signal(signal, is_pushed=True)
    settings.setdefault("budget_ms", math.inf)
    settings.setdefault("prepare", "never")  # packets come as fast as they are taken
    if made_up is not None and made_up.shape != signal.shape[:1]:
        raise PacketError(f"made_up has shape {made_up.shape}; give {signal.shape[:1]}")
    rows = signal.reshape(signal.shape[0], -1)
    concealer = Concealer(
        sample_rate=sample_rate,
        channels=rows.shape[1],
        packet_samples=packet_samples,
        packet_ms=packet_ms,
        lookahead=lookahead,
        **settings,
    )
    packet_samples = concealer.config.packet_samples
    samples, packets = rows.shape[0], -(-rows.shape[0] // packet_samples)
    missing = np.zeros((packets, packet_samples), np.bool_)
    flat = missing.reshape(-1)
    for start, stop in lost_spans(lost, samples, packet_samples):
        flat[start:stop] = True
    flat[samples:] = flat[samples - 1]  # what fills up the last packet
    padded = np.zeros(((packets + lookahead) * packet_samples, rows.shape[1]), signal.dtype)
    padded[:samples] = rows
    played: Packet = np.zeros_like(padded)
    for k, counted in enumerate(missing.sum(axis=1).tolist()):
        at = slice(k * packet_samples, (k + 1) * packet_samples)
        if counted == packet_samples:
            played[at] = concealer.push(None)
        else:
            parts = gaps_of(missing[k], 1) if counted else ()
            played[at] = concealer.push(padded[at], missing=parts)
        if made_up is not None:
            missing[k] = mask_of(concealer.lacking[-1], packet_samples)
    played[packets * packet_samples :] = concealer.flush()
    if made_up is not None:
        made_up[:] = flat[:samples]
    begin = concealer.delay
    return played[begin : begin + samples].reshape(signal.shape)
