"""Loss of packets: loss models and trace files.

A *model* (:class:`Bernoulli`, :class:`GilbertElliott`) says how likely losses are, a *source*
hands out the trace of one stream piece by piece. However a source's trace is cut into pieces, it
is the same trace: what is drawn are the lengths of alternating runs (received, lost, received, …),
which for a two-state Markov chain are geometric and independent; the pieces are painted from
where the runs end. So a million packets cost milliseconds and an endless stream no memory.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plc.errors import AudioFileError, ConfigError, TraceError
from plc.notice import counted
from plc.whole_files import write_whole

# Runs drawn at once. Part of what a seed means: another number gives other traces.
_RUNS_DRAWN = 1024
# A run longer than this many packets (over 30 years of 1 ms) counts as for ever.
_LONGEST_RUN = 2**40
# G.192's word of a lost packet; and how a file of its words begins, in either byte order.
_LOST_WORD = 0x6B20
_WORDS = {b" k": "<u2", b"!k": "<u2", b"k ": ">u2", b"k!": ">u2"}


class LossSource(Protocol):
    """Source of one stream's trace, piece by piece."""

    def take(self, packets: int) -> NDArray[np.bool_]:
        """Return the next ``packets`` of the trace: bool, shape (packets,), True = lost."""
        ...


@dataclass(frozen=True, slots=True)
class Bernoulli:
    """Loses each packet independently with probability ``loss``.

    Parameters
    ----------
    loss : float
        Share of packets lost, 0 to 1.
    """

    loss: float

    def __post_init__(self) -> None:
        """Check the share."""
        _check_share(self.loss)

    def source(self, seed: int = 0) -> "RunLengthLosses":
        """Return a new stream's losses, the same for the same seed."""
        return RunLengthLosses.start(self.loss, self.loss, 1.0 - self.loss, seed)

    def trace(self, packets: int, seed: int = 0) -> NDArray[np.bool_]:
        """Return the trace of ``packets`` packets: bool, shape (packets,), True = lost."""
        return self.source(seed).take(packets)


@dataclass(frozen=True, slots=True)
class GilbertElliott:
    """Losses in bursts: a two-state Markov chain (Gilbert's model).

    A received packet is followed by a lost one with probability
    ``p = loss / (mean_burst * (1 - loss))``, a lost one by a received one with
    ``r = 1 / mean_burst``. A ``mean_burst`` of ``1 / (1 - loss)`` is :class:`Bernoulli`.

    Parameters
    ----------
    loss : float
        Share of packets lost, 0 up to but not including 1.
    mean_burst : float
        Mean number of packets in a burst, 1 or more.

    References
    ----------
    .. [1] E. N. Gilbert, "Capacity of a burst-noise channel", Bell System Technical Journal 39,
       1960, with every packet of the bad state lost.
    """

    loss: float
    mean_burst: float = 1.5

    def __post_init__(self) -> None:
        """Check that such a chain exists."""
        _check_share(self.loss)
        if not (math.isfinite(self.mean_burst) and self.mean_burst >= 1.0):
            raise ConfigError(f"mean burst is {self.mean_burst:g} packets; it is 1 or more")
        if self.loss == 1.0:
            raise ConfigError("loss is 100 %; a model with bursts needs some packets received")
        if self._onset_probability() > 1.0:
            least = self.loss / (1.0 - self.loss)
            most = self.mean_burst / (1.0 + self.mean_burst)
            raise ConfigError(
                f"{100 * self.loss:g} % loss cannot come in bursts of {self.mean_burst:g} packets "
                f"on average; take a mean burst of at least {least:.3g} packets, or a loss of at "
                f"most {100 * most:.3g} %"
            )

    def _onset_probability(self) -> float:
        return self.loss / (self.mean_burst * (1.0 - self.loss))

    def source(self, seed: int = 0) -> "RunLengthLosses":
        """Return a new stream's losses, the same for the same seed."""
        return RunLengthLosses.start(
            self.loss, self._onset_probability(), 1.0 / self.mean_burst, seed
        )

    def trace(self, packets: int, seed: int = 0) -> NDArray[np.bool_]:
        """Return the trace of ``packets`` packets: bool, shape (packets,), True = lost."""
        return self.source(seed).take(packets)


@dataclass(slots=True)
class RunLengthLosses:
    """A stream's losses as alternating runs of geometric length; made by a model's ``source``."""

    onset_probability: float
    recovery_probability: float
    rng: np.random.Generator
    lost: bool
    # Where the runs drawn so far end, in packets from the start of the next piece, ascending.
    ends: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    @classmethod
    def start(
        cls, loss: float, onset_probability: float, recovery_probability: float, seed: int
    ) -> "RunLengthLosses":
        """Return a stream in the chain's steady state: its first packet is lost like any other."""
        if seed < 0:
            raise ConfigError(f"seed is {seed}; it is 0 or more")
        rng = np.random.default_rng(seed)
        return cls(onset_probability, recovery_probability, rng, bool(rng.random() < loss))

    def take(self, packets: int) -> NDArray[np.bool_]:
        """Return the next ``packets`` of the trace: bool, shape (packets,), True = lost."""
        while not self.ends.size or self.ends[-1] < packets:
            self._draw_runs()
        past = int(np.searchsorted(self.ends, packets, side="right"))
        turns = np.zeros(packets + 1, np.bool_)
        turns[self.ends[:past]] = True
        trace: NDArray[np.bool_] = np.logical_xor.accumulate(turns)[:packets] ^ self.lost
        self.lost ^= bool(past % 2)
        self.ends = self.ends[past:] - packets
        return trace

    def _draw_runs(self) -> None:
        """Append runs, alternating with the last one drawn."""
        lost = np.resize([self.lost, not self.lost], _RUNS_DRAWN) ^ bool(self.ends.size % 2)
        leave = np.where(lost, self.recovery_probability, self.onset_probability)
        lengths = np.full(_RUNS_DRAWN, _LONGEST_RUN, np.int64)
        ending = leave > 0.0
        lengths[ending] = self.rng.geometric(leave[ending]).clip(1, _LONGEST_RUN)
        start = self.ends[-1] if self.ends.size else 0
        self.ends = np.concatenate([self.ends, start + np.cumsum(lengths)])


@dataclass(slots=True)
class TraceLosses:
    """A stream's losses from a given trace.

    Parameters
    ----------
    trace : bool, shape (packets,)
        True = lost; at least one packet.
    loop : bool
        Begin again at its end; otherwise asking past its end is a :class:`~plc.errors.TraceError`.
    path : str or Path, optional
        The file that the trace was read from, if it was: that one is not to be overwritten.
    """

    trace: NDArray[np.bool_]
    loop: bool = False
    position: int = 0
    path: str | Path | None = None

    def __post_init__(self) -> None:
        """Check that the trace is not empty."""
        if self.trace.ndim != 1 or not self.trace.size:
            raise TraceError(f"a trace has the shape (packets,); got {self.trace.shape}")

    def take(self, packets: int) -> NDArray[np.bool_]:
        """Return the next ``packets`` of the trace: bool, shape (packets,), True = lost."""
        stop = self.position + packets
        if stop > self.trace.size and not self.loop:
            raise TraceError(
                f"the trace has {self.trace.size} packets, at least {stop} are needed; "
                "give a longer one, or repeat it (--loop)"
            )
        index = np.arange(self.position, stop) % self.trace.size
        self.position = stop
        piece: NDArray[np.bool_] = self.trace[index]
        return piece


def read_trace(path: str | Path) -> NDArray[np.bool_]:
    """Return the trace in a file: text, or one of the forms of ITU-T G.192.

    Text has one digit a packet, ``1`` lost and ``0`` received, in the order of the packets. Blanks,
    commas and line ends between digits are optional; ``#`` starts a comment that ends with its
    line.

    G.192 [1]_ has a word of 16 bits for each packet, of either byte order: 0x6b21 received and
    0x6b20 lost. It may stand alone, or before the number of bits and a word for each bit, which are
    not looked at. Its low byte may stand alone, too: 0x21 received and 0x20 lost.

    Parameters
    ----------
    path : str or Path, the file

    Returns
    -------
    bool, shape (packets,)
        True = lost; at least one packet.

    Raises
    ------
    TraceError
        If the file cannot be read, holds no packet, or anything but the above.

    References
    ----------
    .. [1] ITU-T G.192, "A common digital parallel interface for speech standardization
       activities", 1996; the forms are those of the tools of ITU-T G.191.
    """
    text = _content(path)
    if text[:2] in _WORDS:
        return _of_words(path, text)
    if b"!" in text and not text.strip(b" !"):
        return np.equal(np.frombuffer(text, np.uint8), _LOST_WORD & 0xFF)
    bare = re.sub(rb"#[^\r\n]*", b"", text.removeprefix(b"\xef\xbb\xbf"))
    digits = bare.translate(None, b" \t\r\n,\x0b\x0c")
    packets = np.frombuffer(digits, np.uint8) - np.uint8(ord("0"))
    if (packets > 1).any():
        raise TraceError(_first_fault(path, bare))
    if not packets.size:
        told = "; of blanks alone it might be all lost by G.192 in bytes: write 1s" if text else ""
        raise TraceError(
            f"the trace {path} holds no packets; expected one 0 or 1 for each packet"
            f"{'' if text.strip(b' ') else told}"
        )
    return packets.astype(np.bool_)


def _of_words(path: str | Path, data: bytes) -> NDArray[np.bool_]:
    """Return the trace of G.192's words, alone or before the bits of each packet."""
    words = np.frombuffer(data[: len(data) & ~1], _WORDS[data[:2]]).tolist()
    at, lost = 0, []
    while at < len(words) and words[at] | 1 == _LOST_WORD | 1:
        lost.append(words[at] == _LOST_WORD)
        at += 1
        if at < len(words) and words[at] | 1 != _LOST_WORD | 1:
            at += 1 + words[at]  # the number of bits, and these
    if at != len(words) or len(data) % 2:
        raise TraceError(
            f"{path} is cut or damaged after {counted(len(lost), 'packet')}: expected 0x6b21 or "
            "0x6b20 of G.192 for each, alone or before its number of bits and these"
        )
    return np.array(lost, np.bool_)


def _content(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise TraceError(f"cannot read the trace {path}: {error.strerror}") from error


def packet_samples_of_trace(path: str | Path) -> int | None:
    """Return the packet length of a trace's comment, in samples, or None.

    The comment is what ``plc lose`` writes: ``# packets of 441 samples, 1 = lost``.
    """
    stated = re.search(rb"#[^\r\n]*packets of (\d+) samples", _content(path))
    return int(stated.group(1)) if stated else None


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


def write_trace(
    path: str | Path, trace: ArrayLike, comments: Sequence[str] = (), overwrite: bool = True
) -> None:
    """Write ``trace`` to a text file for :func:`read_trace`, whole or not at all.

    Parameters
    ----------
    path : str or Path, the text file
    trace : array_like of bool, shape (packets,), True = lost
    comments : sequence of str
        Lines to put on top, without the ``#``.
    overwrite : bool
        Whether a file that is there is replaced.

    Raises
    ------
    TraceError
        If it cannot be written, or is there and may not be replaced.
    """
    lost = np.asarray(trace, np.bool_)
    if lost.ndim != 1:
        raise TraceError(f"a trace has the shape (packets,); got {lost.shape}")
    lines = np.full((lost.size, 2), ord("\n"), np.uint8)
    lines[:, 0] = ord("0") + lost
    head = "".join(f"# {line}\n" for line in comments)
    try:
        write_whole(Path(path), head.encode() + lines.tobytes(), overwrite)
    except AudioFileError as error:
        raise TraceError(str(error)) from error


def _check_share(loss: float) -> None:
    if not 0.0 <= loss <= 1.0:
        raise ConfigError(f"loss is {100 * loss:g} %; it is a share from 0 to 1 (0 % to 100 %)")


def _first_fault(path: str | Path, text: bytes) -> str:
    """Return place and text of the first character other than 0 and 1."""
    for number, line in enumerate(re.split(rb"\r\n|\r|\n", text), start=1):
        fault = re.search(rb"[^01\s,][^\s,]*|(?<=[01])[^01\s,]+", line)
        if fault:
            found = fault.group()[:20].decode("utf-8", "replace")
            return (
                f"{path}, line {number}: found {found!r}; expected 0 (received) or 1 (lost), or a "
                "file of ITU-T G.192"
            )
    raise AssertionError("called for a text without a fault")
