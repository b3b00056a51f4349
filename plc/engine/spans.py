"""Lost parts of a signal: by packet, by sample, or as gaps."""

import operator
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plc.errors import ConfigError, TraceError

Span = tuple[int, int]
"""First sample, and the one after the last."""


def bursts_of(trace: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the bursts of a trace: int64, shape (bursts, 2), begin and end in packets."""
    return np.flatnonzero(np.diff(trace, prepend=False, append=False)).reshape(-1, 2)


def gaps_of(trace: NDArray[np.bool_], packet_samples: int) -> list[tuple[int, int]]:
    """Return where a trace's bursts begin and end, in samples.

    Parameters
    ----------
    trace : bool, shape (packets,), True = lost
    packet_samples : int, length of a packet
    """
    return [(int(start), int(stop)) for start, stop in bursts_of(trace) * packet_samples]


def lost_spans(lost: ArrayLike, samples: int, packet_samples: int) -> list[Span]:
    """Return the lost stretches of a signal, in order and apart.

    Parameters
    ----------
    lost : bool, shape (packets,) or (samples,), or a sequence of (start, stop)
        True where a packet, or a sample, is lost. Or gaps in samples, stop excluded, in any order.
    samples : int, length of the signal
    packet_samples : int, of a packet of the trace

    Raises
    ------
    TraceError
        If a trace or mask is of another size, or not of True and False.
    ConfigError
        If a gap is empty, or not within the signal.
    """
    if isinstance(lost, str | bytes | Path):
        raise TraceError(
            f"lost is the text {str(lost)!r}; give a trace or gaps themselves: a file is read by "
            "plc.engine.trace_files.read_trace, or by the command (plc conceal --trace)"
        )
    if isinstance(lost, Sequence) and any(isinstance(each, Sequence) for each in lost):
        return merge_spans(lost, samples)
    try:
        given = np.asarray(lost)
    except Exception as error:  # what an object of another library raises
        raise TraceError(
            f"lost is {type(lost).__name__}, which numpy cannot read: {error}"
        ) from error
    if given.dtype.kind in "iu" and given.ndim == 2 and given.shape[1] == 2:
        return merge_spans(given.tolist(), samples)
    if not given.size and given.dtype != np.bool_:
        return []  # no gaps
    flags = _as_flags(given)
    if flags.size == samples:
        return gaps_of(flags, 1)
    packets = -(-samples // packet_samples)
    if flags.size not in (packets, packets + 1):
        raise TraceError(
            f"the trace has {flags.size} packets; {samples} samples in packets of "
            f"{packet_samples} are {packets} (a mask by sample: {samples}); say what the packets "
            "are by packet_samples or packet_ms, and cut a longer trace: lost[:packets]"
        )
    # A recording may end before the partial packet that a trace ends with.
    spans = gaps_of(flags[:packets], packet_samples)
    return [(start, min(stop, samples)) for start, stop in spans]


def _as_flags(given: NDArray[Any]) -> NDArray[np.bool_]:
    if given.ndim == 2 and given.shape[1] > 1:
        raise TraceError(
            f"lost has shape {given.shape}; all channels are lost together: give "
            "lost.any(axis=1), or lost.any(axis=0) where channels come first"
        )
    flags = given.reshape(-1)
    if flags.dtype.kind not in "biuf" or not np.isin(flags, (0, 1)).all():
        raise TraceError(
            "lost is neither True and False for each packet or sample, nor gaps; give gaps as "
            "[(start, stop), …] in samples"
        )
    return flags.astype(np.bool_)


def merge_spans(gaps: Iterable[Any], samples: int) -> list[Span]:
    """Return gaps in order; overlapping and touching ones become one.

    Parameters
    ----------
    gaps : iterable of (start, stop), in samples
    samples : int, length of the signal

    Raises
    ------
    ConfigError
        If a gap is empty or reaches past the ``samples`` there are.
    """
    merged: list[Span] = []
    for start, stop in sorted(_as_samples(gap) for gap in gaps):
        if not 0 <= start < stop <= samples:
            raise ConfigError(
                f"gap {start}:{stop} does not fit a signal of {samples} samples; "
                "give 0 <= start < stop <= samples"
            )
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return merged


def _as_samples(gap: Any) -> Span:
    try:
        start, stop = gap
        return operator.index(start), operator.index(stop)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"gap is {gap!r}; give (start, stop) in samples, two integers") from error
