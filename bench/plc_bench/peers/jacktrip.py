"""JackTrip's Regulator: Burg's method of the highest order that its history allows.

Each channel by itself. The history is the last P packets *put out*; a lost packet, and the one
after it, are predicted from it, and the first packet received after a loss is faded in over its
whole length from that second prediction. Nothing is faded out in a burst.

P is one packet of more than 256 samples, two of 128 to 256, and as many as fit 256 samples below
that. JackTrip's own packets are of 128 samples at 48 kHz, where the order is 255 on 5.3 ms; with
10 ms packets it is 479 on 10 ms.

Rebuilt from a description of ``src/Regulator.cpp``, in single precision as there; its jitter buffer
and its choice to predict in a thread are left out. The cost is O(H²), here in numpy.
"""

import numpy as np

from plc.errors import ConfigError
from plc_bench.base.corpus import Samples
from plc_bench.peers.base import Contender
from plc_bench.scores.metrics import Mask

# The only damping: the first denominator is this times the energy, in place of twice.
DAMPING = np.float32(2.00002)
# After this time without a packet the stream is silent.
_SILENT_AFTER_MS = 512.0


class JackTrip:
    """The Regulator, with the stream's own packets."""

    coded = False

    def play(self, signal: Samples, trace: Mask, packet_samples: int, sample_rate: int) -> Samples:
        """Play the stream."""
        patience = int(_SILENT_AFTER_MS * sample_rate / (1000 * packet_samples))
        rows = [
            _play_channel(row, trace, packet_samples, patience)
            for row in np.ascontiguousarray(signal.T)
        ]
        return np.stack(rows, axis=1)


def peer(name: str) -> Contender:
    """Return the contender of a name; it has no options."""
    if name != "jacktrip":
        raise ConfigError(f"peer {name!r}: jacktrip has no options")
    return JackTrip()


def history_packets(packet_samples: int) -> int:
    """Return how many packets the history holds."""
    if packet_samples < 128:
        return 2 * (128 // packet_samples)
    return 2 if packet_samples <= 256 else 1


def burg(x: Samples) -> Samples:
    """Return the predictor of order ``len(x) - 1``: float32, shape of ``x``, ``a[0] = 1``."""
    size, one = x.size, np.float32(1.0)
    a = np.zeros(size, np.float32)
    a[0] = one
    forward, backward = x.copy(), x.copy()
    energy = DAMPING * np.dot(x, x) - x[0] * x[0] - x[-1] * x[-1]
    for k in range(size - 1):
        ahead, behind = forward[k + 1 :], backward[: size - 1 - k]
        mu = np.float32(-2.0) * np.dot(ahead, behind) / (energy or np.finfo(np.float32).eps)
        a[: k + 2] += mu * a[k + 1 :: -1]
        ahead[:], behind[:] = ahead + mu * behind, behind + mu * ahead
        energy = (one - mu * mu) * energy
        energy -= forward[k + 1] * forward[k + 1] + backward[size - 2 - k] * backward[size - 2 - k]
    return a


def predict(history: Samples, samples: int) -> Samples:
    """Predict the samples after a history: float32, shape (samples,).

    The last sample known is itself predicted anew first, as in the original.
    """
    size = history.size
    taps = -burg(history)[:0:-1]  # oldest sample first
    line = np.zeros(size + samples, np.float32)
    line[:size] = history
    for i in range(size - 1, size + samples):
        line[i] = np.dot(taps, line[i - size + 1 : i])
    return line[size:]


def _play_channel(signal: Samples, trace: Mask, packet_samples: int, patience: int) -> Samples:
    held = history_packets(packet_samples)
    out = signal.copy()
    ramp = np.arange(packet_samples, dtype=np.float32) / np.float32(packet_samples)
    following: Samples | None = None
    burst = 0
    for k, lost in enumerate(trace):
        begin, end = k * packet_samples, (k + 1) * packet_samples
        burst = burst + 1 if lost else 0
        if lost and (k <= held or burst > patience):
            out[begin:end], following = 0.0, None
        elif lost:
            both = predict(out[begin - held * packet_samples : begin], 2 * packet_samples)
            both[~np.isfinite(both)] = 0.0
            out[begin:end], following = both[:packet_samples], both[packet_samples:]
        elif following is not None:
            out[begin:end] += (np.float32(1.0) - ramp) * (following - out[begin:end])
            following = None
    return out
