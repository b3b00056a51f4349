"""The interface of every concealment method.

A filler is asked to begin when a burst does and then for samples, as often as there are lost
packets and once more for the crossfade of the recovery. Level, comfort noise and crossfades are
the :class:`~plc.Concealer`'s affair, so that every method is treated alike::

    begin ──▶ extend ──▶ next_packet ──▶ extend ──▶ … ──▶ extend (crossfade)
        ╰───▶ bridge    (the far side of the gap is known)

    played     after each block, received or concealed
    took       after each packet of which something was concealed
    pass_time  after each packet

A filler has to have :attr:`Method.name` and :meth:`Filler.extend`; every other hook may be left
out. Linear prediction alone is no filler: the stream's step makes it itself.
"""

# ruff: noqa: B027 - a hook that is left out does nothing

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from plc.predict.history import History

if TYPE_CHECKING:
    from plc.predict.ladder import Ladders


class Moment(NamedTuple):
    """State of a stream at the beginning of a burst or bridge."""

    unsteady: bool = False
    """Whether what the burst interrupts changes fast, as speech does."""
    content: str = "music"
    """What it is taken for: ``"music"`` or ``"speech"``."""
    gap_samples: int = 0
    """Samples of the burst, if it is bridged as a whole; else 0."""
    fading: bool = False
    """Whether the burst has begun to fade."""
    received_share: float = 1.0
    """How much of what lies before the burst was received, 0 to 1."""
    limit_ms: float = float("inf")
    """Time that the answer may take, where that is less than the stream's own limit."""


STEADY_MOMENT = Moment()
"""For those who run a filler without a stream: steady music, all received, no hurry."""


class Method(ABC):
    """A method of concealment, as every stream asks for it."""

    ladders: "Ladders | None" = None
    """Rungs of linear prediction that the stream's step makes itself; None: it asks a filler."""
    step_networks: Any = None
    """Networks that run in the step: :class:`plc.engine.networks.StepNetworks`, or None."""
    outside: Any = None
    """What computes their forward passes: :class:`plc.engine.outside.OutsideNetworks`, or None."""
    from_onsets: bool = False
    """Whether the step's prediction is fitted to a sound from its onset on."""
    refit_ms: float = 0.0
    """For so long a fit to steady content serves further bursts."""
    prepares: int = 0
    """Whether bursts are prepared: 0, or a way of :mod:`plc_kernels.stream.preparation`."""
    crossfades: bool = True
    """Whether the first received samples are blended with what the method says they would be."""
    fills_noise: bool = False
    """Whether noise keeps the level of the bands of its fills of music."""
    fades: bool = True
    """Whether a long burst fades into comfort noise."""
    bridges: bool = False
    """Whether it can make use of what comes after the gap."""
    past_samples: int = 0
    """Samples of history that it reads at most."""

    @property
    def filler(self) -> "Filler | None":
        """The filler that makes samples; None: the stream's step does."""
        return None

    @property
    @abstractmethod
    def name(self) -> str:
        """Source of the samples since the last burst began, for the statistics."""

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that :attr:`name` can take."""
        return (self.name,)

    def attach(self, memory: Any) -> None:
        """Take the memory of the stream, a :class:`~plc.engine.memory.StreamMemory`."""

    def took(self, late: bool) -> int:
        """Hear whether a concealment took too long; return the steps down the ladder for it."""
        return 0

    def pass_time(self, ms: float) -> int:
        """Advance the stream's time; return the steps up the ladder."""
        return 0

    def describe(self) -> dict[str, Any]:
        """Return the method, its networks by content, and its ladders."""
        return {"method": self.names[0], "networks": {}, "ladders": {}}

    def reset(self) -> None:
        """Forget the stream."""

    def close(self) -> None:
        """End the threads beside the stream's own."""


class Filler(Method):
    """Makes the samples of a gap, for all channels of a stream."""

    late_samples: int = 0
    """Samples of the fade of the burst begun last during which a bridge is still wanted."""

    @property
    def filler(self) -> "Filler":
        """Return itself."""
        return self

    def begin(self, history: History, moment: Moment = STEADY_MOMENT) -> None:
        """Prepare for a gap after the samples in ``history``."""

    @abstractmethod
    def extend(self, out: NDArray[np.float32]) -> None:
        """Write the next samples, shape (channels, n)."""

    def next_packet(self) -> None:
        """Hear that the burst goes on in another packet."""

    def bridge(
        self,
        history: History,
        after: NDArray[np.float32],
        out: NDArray[np.float32],
        moment: Moment = STEADY_MOMENT,
    ) -> bool:
        """Write the rest of the gap, up to the next received samples.

        Asked only of a filler that :attr:`bridges`.

        Parameters
        ----------
        history : History
            Ends where ``out`` begins: it holds what :meth:`extend` made of the gap.
        after : float32, shape (channels, m)
            What follows the gap.
        out : float32, shape (channels, n), written
        moment : Moment
            That of :meth:`begin`, but for the limit and whether the burst has begun to fade.

        Returns
        -------
        bool
            Whether the end runs into ``after``; if not, it is crossfaded like any other.
        """
        self.extend(out)
        return False

    def played(self, block: NDArray[np.float32], received: bool) -> None:
        """Take in a played block, shape (channels, n), after the history did."""
