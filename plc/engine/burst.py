"""A burst of losses, from its first packet to the recovery."""

from dataclasses import dataclass
from enum import Enum, auto

# Prediction holds for this time (G.711 Appendix I and EVS begin to fade earlier, for speech); then
# the level falls, and the background takes over.
STEADY_HOLD_MS = 60.0
UNSTEADY_HOLD_MS = 20.0
FADE_MS = 100.0
# Where the concealment differs from the received samples by more than this share of their energy,
# a long crossfade only spoils received samples. Not in unsteady content (docs/notebook.md).
QUICK_RECOVERY_MS = 0.5
APART = 0.1


class Play(Enum):
    """How the packet whose turn it is will be played."""

    RECEIVED = auto()
    """Play it as it came."""
    RECOVER = auto()
    """Blend the end of a concealment into it."""
    EXTEND = auto()
    """Conceal it from what came before the gap."""
    BRIDGE = auto()
    """Conceal it from both sides: the far one is known."""
    NOISE = auto()
    """Conceal it by the background alone: the fade is over."""


@dataclass(slots=True)
class Burst:
    """A burst, from its first lost packet to its recovery."""

    hold: int
    """Samples at full level."""
    fade: int
    """Samples from there to the background alone."""
    late: int = 0
    """Samples of the fade during which a bridge is still built."""
    age: int = 0
    """Samples concealed so far."""
    recovered: int = 0
    """Received samples already blended."""
    bridged: int = 0
    """Samples of the bridge already played."""
    bridge: int = 0
    """Samples of the bridge in all; 0 until the far side of the gap is known."""
    landed: bool = False
    """Whether the bridge runs into the samples after the gap: no crossfade is needed then."""

    @property
    def faded(self) -> bool:
        """Whether only the background is left."""
        return self.age >= self.hold + self.fade


def decide(arrived: bool, burst: Burst | None, far_side_known: bool, fades: bool) -> Play:
    """Return what to do with the packet whose turn it is.

    Parameters
    ----------
    arrived : bool
        Whether it did.
    burst : Burst or None
        The burst under way or being recovered from.
    far_side_known : bool
        Whether a packet after the gap has arrived already, near enough to build a bridge to.
    fades : bool
        Whether the method's long bursts fade into the background.
    """
    if arrived:
        return Play.RECOVER if burst else Play.RECEIVED
    if burst is None or burst.recovered:
        return Play.BRIDGE if far_side_known else Play.EXTEND
    if burst.bridge > burst.bridged:
        return Play.BRIDGE
    if fades and burst.faded:
        return Play.NOISE
    # Once the level falls there is little left on the near side to build a bridge from.
    bridged = far_side_known and burst.age < burst.hold + burst.late
    return Play.BRIDGE if bridged else Play.EXTEND
