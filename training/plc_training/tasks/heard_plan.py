"""Pieces of concealed streams, whole, so that a judge of clips can hear them.

Each piece goes through the engine with a network of the package. Of what it plays the network's
share is taken out again, so that another network's fills can be put in where they would be heard::

    line    truth     |~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~|
            played    |~~~~~|-- fill --|~~~~~~~~~~~~~~~|
            rest      |~~~~~|__________|~~~~~~~~~~~~~~~|   played, less the network's share
            judged    |_____|==========|_______________|

Where nothing is left of a burst's first packet, the network was asked, on the drafts that are made
here, and the burst can be judged with another's fill; the others stay as they were played. Drafts
are made once more when a batch is: they take a tenth of the time that judging does.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import plc
from plc.audio.loss import GilbertElliott, gaps_of
from plc.engine.burst import FADE_MS, UNSTEADY_HOLD_MS
from plc.errors import ConfigError, ModelError
from plc.limits import RECOVERY_MS
from plc.models.catalogue import find
from plc.networks.filler import LEAVE_MS
from plc.networks.spectra import GapSpectra
from plc.runtime.network import open_network
from plc_bench.scores.metrics import GAP_RMS_MIN, rms
from plc_kernels.fade import burst_gain, crossfade, crossfade_ramp
from plc_training.data.segments import CausalPlan

# Of the piece's peak: more is left of a burst only where the engine played something else.
_LEFT = 1e-3

TRUTH, PLAYED, REST, JUDGED = range(4)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeardPlan:
    """Pieces of streams of which only the past is known.

    Attributes
    ----------
    sample_rate : int
        In Hz.
    packet_ms : float
        Packet length.
    losses : tuple of float
        Of the Gilbert-Elliott model, drawn alike.
    burst : float
        Of the model: mean packets of a burst.
    piece_s : float
        Length of a piece.
    model : str
        What the engine conceals with: a causal model of the package on the contour of the pitch,
        or the path of such a manifest.
    model_sha256 : str
        Of that model; empty: of the one that there is. So pieces that another one played are not
        taken for its own.
    margin, horizon, rung, domains, seed, speeds
        As for :class:`~plc_training.data.segments.CausalPlan`.

    Raises
    ------
    ConfigError, ModelError
        If there is no such model, or another one of that name.
    """

    sample_rate: int
    packet_ms: float
    losses: tuple[float, ...]
    burst: float
    piece_s: float
    model: str
    margin: int
    horizon: int
    rung: tuple[float, float]
    domains: tuple[str, ...]
    model_sha256: str = ""
    seed: int = 0
    speeds: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        """Look the model up."""
        found = find(self.model).sha256
        if self.model_sha256 not in ("", found):
            raise ConfigError(
                f"data.model {self.model} has the SHA-256 {found}; expected {self.model_sha256}"
            )
        object.__setattr__(self, "model_sha256", found)

    @property
    def lines(self) -> tuple[str, ...]:
        """What each line of a piece is."""
        return ("truth", "played", "rest", "judged")

    @property
    def packet_samples(self) -> int:
        """Samples of a packet."""
        return round(self.packet_ms * self.sample_rate / 1000.0)

    @property
    def samples(self) -> int:
        """Samples of a piece: whole packets."""
        return round(1000.0 * self.piece_s / self.packet_ms) * self.packet_samples

    @property
    def bursts(self) -> CausalPlan:
        """How the drafts of a burst are made."""
        return CausalPlan(
            sample_rate=self.sample_rate,
            packet_ms=(self.packet_ms,),
            loss=self.losses[0],
            burst=self.burst,
            margin=self.margin,
            horizon=self.horizon,
            rung=self.rung,
            pitch=True,
            domains=self.domains,
            contour=True,
        )

    def gaps(self, judged: NDArray[np.bool_]) -> list[tuple[int, int]]:
        """Return begin and end, in samples, of the bursts that a network is judged by.

        ``judged``, shape (packets,), says which packets are theirs.
        """
        last = self.samples - self.horizon
        gaps = gaps_of(judged, self.packet_samples)
        return [(start, stop) for start, stop in gaps if self.margin <= start <= last]

    def cut(
        self, x: NDArray[np.float32], domain: str, rng: np.random.Generator
    ) -> Iterator[tuple[NDArray[np.float32], int]]:
        """Yield a clip's pieces, shape (lines, samples) each, and how many samples are judged."""
        if domain not in self.domains:
            return
        n = self.packet_samples
        # Later samples hold the background as well.
        full = min(n, round(UNSTEADY_HOLD_MS * self.sample_rate / 1000.0))
        network = _Network(self)
        for first in range(0, x.size - self.samples + 1, self.samples):
            truth = x[first : first + self.samples]
            model = GilbertElliott(float(rng.choice(self.losses)), self.burst)
            lost = model.trace(self.samples // n, int(rng.integers(2**31)))
            if rms(truth) < GAP_RMS_MIN:
                continue
            lines = np.zeros((4, self.samples), np.float32)
            lines[TRUTH] = truth
            lines[PLAYED] = lines[REST] = plc.conceal(
                truth, lost, sample_rate=self.sample_rate, packet_samples=n, model=self.model
            )
            peak = float(np.abs(lines).max())
            for start, stop in self.gaps(lost):
                fill = network.fill(self.bursts.drafted(truth, lines[PLAYED], start, n)[1:])
                rest = lines[REST, start : start + fill.size]
                left = rest - share_of_fill(self.sample_rate, stop - start, fill.size) * fill
                if np.abs(left[:full]).max() <= _LEFT * peak:
                    rest[:] = left
                    lines[JUDGED, start:stop] = peak
            judged = int(np.count_nonzero(lines[JUDGED]))
            if judged:
                yield lines, judged


def share_of_fill(sample_rate: int, gap: int, horizon: int) -> NDArray[np.float32]:
    """Return how much of a fill is heard in each sample, shape (horizon,): fade and recovery.

    Parameters
    ----------
    sample_rate : int
        In Hz.
    gap : int
        Samples of the burst.
    horizon : int
        Samples of the fill.
    """
    share = np.empty(horizon, np.float32)
    hold, fade = (round(sample_rate * ms / 1000.0) for ms in (UNSTEADY_HOLD_MS, FADE_MS))
    burst_gain(0, hold, fade, share)
    ramp = crossfade_ramp(round(sample_rate * RECOVERY_MS / 1000.0))[: max(horizon - gap, 0)]
    share[gap : gap + ramp.size] *= 1.0 - ramp
    share[gap + ramp.size :] = 0.0
    return share


class _Network:
    """The fills of the network that the engine conceals with, as the engine makes them."""

    def __init__(self, plan: HeardPlan) -> None:
        manifest = find(plan.model)
        self._gap = GapSpectra(manifest, plan.sample_rate, 1)
        self._network = open_network(manifest, self._gap.shape, providers="cpu")
        self._first = plan.margin - self._gap.gap_start
        self._leave = crossfade_ramp(round(plan.sample_rate * LEAVE_MS / 1000.0))

    def fill(self, drafts: NDArray[np.float32]) -> NDArray[np.float32]:
        gap = self._gap
        gap.rows[0] = drafts[:, self._first : self._first + gap.samples]
        gap.analyse()
        if not self._network.run(gap.spectra, gap.lost, gap.filled):
            raise ModelError(f"the model does not answer: {self._network.last_error}")
        made = np.empty((1, gap.horizon), np.float32)
        gap.synthesise(made)
        end = gap.gap_start + gap.horizon
        fill: NDArray[np.float32] = made[0]
        draft = gap.rows[0, -1, end - self._leave.size : end]
        crossfade(draft, self._leave, fill[-self._leave.size :])
        return fill
