"""A clip in packets, its losses, and its playing by a contender.

The losses follow from the clip's name, so a clip is always damaged in the same way.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from plc.errors import ConfigError
from plc_bench.base.corpus import Samples, read_clip
from plc_bench.peers.base import Contender, PeerError
from plc_bench.quality.conditions import Condition
from plc_bench.scores import registry as scores
from plc_bench.scores.metrics import Mask

# A peer reads 16 bits, and writes them.
_STEP = 1.01 / 32_768


@dataclass(frozen=True, slots=True)
class Stream:
    """A clip in packets, and which of them are lost.

    Attributes
    ----------
    signal : float32, shape (n, channels)
        The clip, whole packets of it.
    trace : bool, shape (packets,), True = lost
    """

    signal: Samples
    trace: Mask
    packet_samples: int
    sample_rate: int

    @property
    def lossy(self) -> Samples:
        """The signal with zeros where packets are lost."""
        damaged = self.signal.copy()
        damaged[np.repeat(self.trace, self.packet_samples)] = 0.0
        return damaged

    def is_returned(self, played: Samples, coded: bool) -> bool:
        """Return whether ``played`` is a peer's input, to 16 bits, though sound was lost."""
        given = self.signal if coded else self.lossy
        lost = np.repeat(self.trace, self.packet_samples)
        return bool(self.signal[lost].any() and (np.abs(played - given) < _STEP).all())

    def lost_by_class(self) -> Mapping[str, Mask]:
        """Return which samples are lost, by class of burst."""
        return scores.lost_by_class(self.trace, self.packet_samples, self.sample_rate)


def read_stream(
    path: Path,
    condition: Condition,
    sample_rate: int | None,
    seed: int,
    seconds: float | None = None,
) -> Stream:
    """Return a clip in packets with its losses; a piece of a packet at its end is left away.

    Raises
    ------
    AudioFileError
        If the clip cannot be read.
    ConfigError
        If it is shorter than a packet.
    TraceError
        If a trace does not fit it.
    """
    recording = read_clip(path, sample_rate)
    packet_samples = condition.samples_of_packet(recording.sample_rate)
    samples = len(recording.signal)
    if seconds is not None:
        samples = min(samples, round(seconds * recording.sample_rate))
    packets = samples // packet_samples
    if not packets:
        raise ConfigError(
            f"{path.name} is shorter than a packet of {packet_samples} samples "
            f"({1000 * packet_samples / recording.sample_rate:g} ms)"
        )
    trace = condition.losses(path.name, packets, packet_samples, seed)
    signal = recording.signal[: packets * packet_samples]
    return Stream(signal, trace, packet_samples, recording.sample_rate)


def play(player: Contender, stream: Stream) -> Samples:
    """Return a stream as a contender plays it; lost samples reach codecs alone.

    Raises
    ------
    PeerError
        If what it plays has another shape.
    """
    signal = stream.signal.copy() if player.coded else stream.lossy
    played = player.play(signal, stream.trace, stream.packet_samples, stream.sample_rate)
    if played.shape != stream.signal.shape:
        raise PeerError(f"played shape {played.shape}; expected {stream.signal.shape}")
    return np.asarray(played, np.float32)
