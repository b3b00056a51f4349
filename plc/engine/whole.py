"""Conceal the losses of a signal that is there as a whole."""

import math
from typing import Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plc.engine.concealer import Concealer
from plc.engine.config import StreamSettings
from plc.engine.samples import Packet
from plc.errors import PacketError, TraceError


def conceal(
    signal: Packet,
    lost: ArrayLike,
    *,
    sample_rate: int = 48_000,
    packet_samples: int = 480,
    lookahead: int = 0,
    **settings: Unpack[StreamSettings],
) -> Packet:
    """Return a signal with its lost packets concealed.

    Parameters
    ----------
    signal : float32 or int16, shape (n,) or (n, channels)
        Samples; what stands in lost packets is not looked at. The last packet may be short.
    lost : bool, shape (packets,)
        The trace: True where a packet is lost; one for each packet, or more.
    sample_rate, packet_samples, lookahead, method, model, budget_ms, seed, provider
        As for :class:`~plc.StreamConfig`. The delay of the lookahead is taken out; by default
        there is no limit of time and no preparation, so that the result does not depend on the
        machine.

    Returns
    -------
    float32 or int16, shape of ``signal``
        Received samples as they were, but for the crossfade after each burst.

    Raises
    ------
    PacketError
        If the signal's shape or dtype is not one of the above.
    TraceError
        If the trace is shorter than the signal.
    ConfigError
        If a setting is out of range.
    """
    check_signal(signal)
    settings.setdefault("budget_ms", math.inf)
    settings.setdefault("prepare", "never")  # packets come as fast as they are taken
    rows = signal.reshape(signal.shape[0], -1)
    concealer = Concealer(
        sample_rate=sample_rate,
        channels=rows.shape[1],
        packet_samples=packet_samples,
        lookahead=lookahead,
        **settings,
    )
    packets = -(-rows.shape[0] // packet_samples)
    trace = _checked_trace(lost, packets, rows.shape[0], packet_samples)
    padded = np.zeros(((packets + lookahead) * packet_samples, rows.shape[1]), signal.dtype)
    padded[: rows.shape[0]] = rows
    played: Packet = np.zeros_like(padded)
    for k in range(packets):
        at = slice(k * packet_samples, (k + 1) * packet_samples)
        played[at] = concealer.push(None if trace[k] else padded[at])
    played[packets * packet_samples :] = concealer.flush()
    begin = concealer.delay
    return played[begin : begin + rows.shape[0]].reshape(signal.shape)


def check_signal(signal: Packet) -> None:
    """Raise a :class:`PacketError` unless ``signal`` is as :func:`conceal` takes it."""
    if (
        isinstance(signal, np.ndarray)
        and signal.dtype in (np.float32, np.int16)
        and signal.ndim in (1, 2)
        and signal.size > 0
    ):
        return
    given = f"{signal.dtype} {signal.shape}" if hasattr(signal, "dtype") else type(signal).__name__
    raise PacketError(
        f"signal is {given}; give float32 (full scale 1.0) or int16 of shape (n,) or "
        "(n, channels), n > 0"
    )


def _checked_trace(
    lost: ArrayLike, packets: int, samples: int, packet_samples: int
) -> NDArray[np.bool_]:
    trace = np.asarray(lost, bool).reshape(-1)
    if trace.size < packets:
        raise TraceError(
            f"the trace has {trace.size} packets; {samples} samples in packets of "
            f"{packet_samples} need {packets}"
        )
    return trace
