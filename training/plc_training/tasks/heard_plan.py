"""Pieces of concealed streams for scores of whole clips.

Each piece is played by the engine with a network of the package. The network's share is subtracted
from the output, so that the fills of another network can be added in its place::

    line    truth     |~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~|
            played    |~~~~~|-- fill --|~~~~~~~~~~~~~~~|
            rest      |~~~~~|__________|~~~~~~~~~~~~~~~|   played, less the network's share
            judged    |_____|==========|_______________|

Where the engine's draft of a burst is the one that is made here, another fill can replace the
network's; other bursts remain as played. Drafts are made again for every batch, which takes a tenth
of the time of the scores.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from plc import Concealer
from plc.engine.loss import GilbertElliott
from plc.engine.models.catalogue import find
from plc.engine.spans import gaps_of
from plc.engine.stream.memory import StreamMemory
from plc.errors import ConfigError
from plc_bench.scores.metrics import GAP_RMS_MIN, rms
from plc_kernels.signal.fade import burst_gain, crossfade_ramp
from plc_kernels.stream.extend_network import FILLS, IMPROVED, SERVED
from plc_kernels.stream.gap import LINES, START
from plc_kernels.stream.layout import FADE_MS, RECOVERY_MS, SPEECH_NET, UNSTEADY_HOLD_MS
from plc_training.data.segments import CausalPlan, Pieces, Samples, SegmentPlan

# Share of the piece's peak: by more than that the engine played another fill.
LEFT = 1e-3

TRUTH, PLAYED, REST, JUDGED = range(4)


class JudgedBurst(NamedTuple):
    """A gap of a piece that another network can fill.

    Attributes
    ----------
    start, gap : int
        Its first sample and its length.
    lines : float32, shape (lines, samples)
        As of a segment: the truth, and the drafts.
    share : float32, shape (horizon,)
        Gain of each sample of the fill.
    """

    start: int
    gap: int
    lines: Samples
    share: Samples


@dataclass(frozen=True, slots=True, kw_only=True)
class PiecesPlan(SegmentPlan):
    """Common part of the plans of pieces of concealed streams.

    Attributes
    ----------
    losses : tuple of float
        Loss rates of the Gilbert-Elliott model, equally frequent.
    burst : tuple of float
        Of the model: mean packets of a burst, one for each loss rate.
    model : str
        Model of the engine whose fills can be replaced.
    model_sha256 : str
        Of that model; empty: of the installed model. It distinguishes pieces of different models
        in the cache.
    margin, rung
        As for :class:`~plc_training.data.segments.CausalPlan`.

    Raises
    ------
    ConfigError, ModelError
        If the model does not exist or has another hash.
    """

    sample_rate: int
    packet_ms: float
    losses: tuple[float, ...]
    burst: tuple[float, ...]
    piece_s: float
    model: str
    margin: int
    rung: tuple[float, float]
    model_sha256: str = ""

    def __post_init__(self) -> None:
        """Find the model and its hash."""
        if len(self.burst) != len(self.losses):
            raise ConfigError(
                f"data.burst has {len(self.burst)} values; expected one for each of data.losses, "
                f"{len(self.losses)}"
            )
        found = find(self.model).sha256
        if self.model_sha256 not in ("", found):
            raise ConfigError(
                f"data.model {self.model} has the SHA-256 {found}; expected {self.model_sha256}"
            )
        object.__setattr__(self, "model_sha256", found)

    @property
    def packet_samples(self) -> int:
        """Samples of a packet."""
        return round(self.packet_ms * self.sample_rate / 1000.0)

    @property
    def samples(self) -> int:
        """Samples of a piece: whole packets."""
        return round(1000.0 * self.piece_s / self.packet_ms) * self.packet_samples

    def damaged(
        self, x: Samples, rng: np.random.Generator
    ) -> Iterator[tuple[Samples, NDArray[np.bool_]]]:
        """Yield a clip's loud pieces, each with its trace."""
        for first in range(0, x.size - self.samples + 1, self.samples):
            truth = x[first : first + self.samples]
            k = int(rng.integers(len(self.losses)))
            model = GilbertElliott(self.losses[k], self.burst[k])
            lost = model.trace(self.samples // self.packet_samples, int(rng.integers(2**31)))
            if rms(truth) >= GAP_RMS_MIN:
                yield truth, lost

    def _cut(self, x: Samples, rng: np.random.Generator) -> Pieces:
        for truth, lost in self.damaged(x, rng):
            lines = self._played(truth, lost, rng)
            if judged := int(np.count_nonzero(lines[JUDGED])):
                yield lines, judged

    @abstractmethod
    def _played(self, truth: Samples, lost: NDArray[np.bool_], rng: np.random.Generator) -> Samples:
        """Return the lines of one piece, which a stream plays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeardPlan(PiecesPlan):
    """Plan of pieces of streams without lookahead.

    ``model`` is a causal one with drafts along the pitch contour: a name in the package or the path
    of a manifest.

    Attributes
    ----------
    horizon
        As for :class:`~plc_training.data.segments.CausalPlan`.
    """

    horizon: int

    @property
    def lines(self) -> tuple[str, ...]:
        """Names of the lines of a piece."""
        return ("truth", "played", "rest", "judged")

    @property
    def bursts(self) -> CausalPlan:
        """Plan of the drafts of a burst."""
        return CausalPlan(
            sample_rate=self.sample_rate,
            packet_ms=(self.packet_ms,),
            loss=self.losses[0],
            burst=self.burst[0],
            margin=self.margin,
            horizon=self.horizon,
            rung=self.rung,
            domains=self.domains,
        )

    def gaps(self, judged: NDArray[np.bool_]) -> list[tuple[int, int]]:
        """Return start and end, in samples, of the bursts with scores.

        ``judged``, bool, shape (packets,), is true in their packets.
        """
        last = self.samples - self.horizon
        gaps = gaps_of(judged, self.packet_samples)
        return [(start, stop) for start, stop in gaps if self.margin <= start <= last]

    def drawn(self, piece: Samples, horizon: int) -> Iterator[JudgedBurst]:
        """Yield a piece's bursts with scores; the network fills ``horizon`` samples of each."""
        n = self.packet_samples
        drafted = self.bursts.bursts_of(piece[TRUTH], piece[PLAYED], n)
        for start, stop in self.gaps(piece[JUDGED, ::n] > 0.0):
            share = share_of_fill(self.sample_rate, stop - start, horizon)
            yield JudgedBurst(start, stop - start, drafted(start), share)

    def _played(self, truth: Samples, lost: NDArray[np.bool_], rng: np.random.Generator) -> Samples:
        lines = np.zeros((4, self.samples), np.float32)
        lines[TRUTH] = truth
        lines[PLAYED], fills = self._concealed(truth, lost)
        lines[REST] = lines[PLAYED]
        peak = float(np.abs(lines).max())
        drafted = self.bursts.bursts_of(truth, lines[PLAYED], self.packet_samples)
        for start, stop in self.gaps(lost):
            draft, fill = fills.get(start, (np.zeros(0), np.zeros(0)))
            own = drafted(start)[-1, self.margin :]
            both = min(own.size, fill.size)
            share = share_of_fill(self.sample_rate, stop - start, fill.size)
            left = lines[REST, start : start + fill.size] - share * fill
            # Of a fill that the bound on levels holds, something is left.
            apart = own[:both] - draft[:both], left[: self.packet_samples]
            if both and max(np.abs(each).max() for each in apart) <= LEFT * peak:
                lines[REST, start : start + fill.size] = left
                lines[JUDGED, start:stop] = peak
        return lines

    def _concealed(
        self, x: Samples, lost: NDArray[np.bool_]
    ) -> tuple[Samples, dict[int, tuple[Samples, Samples]]]:
        """Return a concealed signal; by bursts' first samples their last drafts and their fills."""
        begins, fills = {start for start, _ in self.gaps(lost)}, {}

        def look(begin: int, memory: StreamMemory) -> None:
            block = memory.block
            if begin in begins and block[SERVED] == SPEECH_NET and block[IMPROVED]:
                draft = memory.array(SPEECH_NET + LINES)[-1, block[SPEECH_NET + START] :]
                fills[begin] = draft.copy(), memory.array(FILLS)[0].copy()

        stream = {"sample_rate": self.sample_rate, "packet_samples": self.packet_samples}
        return heard(x, lost, look, model=self.model, **stream), fills


def share_of_fill(sample_rate: int, gap: int, horizon: int) -> Samples:
    """Return the gain of a fill in each sample: fade and recovery."""
    share = np.empty(horizon, np.float32)
    hold, fade = (round(sample_rate * ms / 1000.0) for ms in (UNSTEADY_HOLD_MS, FADE_MS))
    burst_gain(0, hold, fade, share)
    ramp = crossfade_ramp(round(sample_rate * RECOVERY_MS / 1000.0))[: max(horizon - gap, 0)]
    share[gap : gap + ramp.size] *= 1.0 - ramp
    share[gap + ramp.size :] = 0.0
    return share


def heard(
    x: Samples, lost: NDArray[np.bool_], look: Callable[[int, StreamMemory], object], **stream: Any
) -> Samples:
    """Return a signal as a stream plays it, without the stream's delay.

    Parameters
    ----------
    x : float32, shape (n,), whole packets
    lost : bool, shape (packets,)
    look : callable
        Is given each packet's first sample, and the memory of the stream once it was played.
    **stream
        Settings of the :class:`~plc.Concealer`.
    """
    concealer = Concealer(**stream, budget_ms=float("inf"))
    n, lookahead = concealer.config.packet_samples, concealer.config.lookahead
    packets = [*x.reshape(-1, n, 1), *np.zeros((lookahead, n, 1), np.float32)]
    played = []
    for k, packet in enumerate(packets, -lookahead):
        gone = k + lookahead < lost.size and lost[k + lookahead]
        played.append(concealer.push(None if gone else packet)[:, 0].astype(np.float32))
        look(k * n, concealer._memory)
    return np.concatenate(played[lookahead:])
