"""Guess the coding of a payload by trial: audio in one coding is noise in any other.

Audio can be predicted from the samples before; the bytes of another coding, read as samples, can
not. A short predictor tells the two apart within a packet, unless it holds next to nothing, or
noise. Of 20 recordings in packets of 20 ms none was taken for another coding at its own ticks.
"""

import numpy as np
from numpy.typing import NDArray

from plc.transport.rtp.codecs import G711

# Bytes of a sample of one channel.
SAMPLE_BYTES = {"l16": 2, "l24": 3, "pcmu": 1, "pcma": 1}
_LAWS = {law: G711(law) for law in ("pcmu", "pcma")}
# Less holds too few samples, or codes, to tell by.
_LEAST_BYTES, _LEAST_CODES = 60, 12
_ORDER = 4
# Of a channel; with more, the libraries' threads would take longer than the sums.
_SAMPLES_MAX = 256
Coding = tuple[str, int]
# A prediction gain that audio has, and one that noise has.
_AUDIO, _NOISE = 6.0, 2.0


def guess(payload: bytes, own: str = "", ticks: int | None = None) -> Coding | None:
    """Return the coding and the channels that alone make audio of a payload; None if none does.

    Parameters
    ----------
    payload : bytes, a packet's
    own : str
        Coding that is taken for right unless it makes noise.
    ticks : int or None
        Samples of a channel that it holds; None: unknown, and one or two channels are tried.
    """
    if is_blank(payload):
        return None
    gains: dict[Coding, float] = {}
    for name, size in SAMPLE_BYTES.items():
        for channels in (1, 2) if ticks is None else (len(payload) // (size * max(1, ticks)),):
            if 1 <= channels <= 8 and ticks in (None, len(payload) / (size * channels)):
                gains[name, channels] = _gain(payload, name, channels)
    best = max(gains, key=lambda coding: gains[coding], default=None)
    # One law decodes the other's codes as audio, too, only worse.
    alike = _LAWS if best and best[0] in _LAWS else {best and best[0]}
    others = [gain for coding, gain in gains.items() if coding[0] not in alike]
    own_gain = max((gain for coding, gain in gains.items() if coding[0] == own), default=0.0)
    if best is None or gains[best] < _AUDIO or max(others, default=0.0) > 0.5 * gains[best]:
        return None
    least = max(_NOISE, (0.5 if own in alike else 0.1) * gains[best])
    return best if best[0] == own or own_gain < least else None


def is_blank(payload: bytes) -> bool:
    """Return whether a payload holds next to nothing, which is silence in most codings."""
    return len(payload) < _LEAST_BYTES or len(set(payload)) < _LEAST_CODES


def is_noise(payload: bytes, name: str, channels: int) -> bool:
    """Return whether the samples of a payload follow from none before."""
    return len(payload) >= _LEAST_BYTES and 0.0 < _gain(payload, name, channels) < _NOISE


def _gain(payload: bytes, name: str, channels: int) -> float:
    """Return by how much a predictor lowers the power, in the channel where it does least."""
    values = _values(payload[: _SAMPLES_MAX * SAMPLE_BYTES[name] * channels], name)
    gains = [_gain_of(values[channel::channels]) for channel in range(channels)]
    return min((gain for gain in gains if gain > 0.0), default=0.0)


def _gain_of(values: NDArray[np.float64]) -> float:
    values = values - values.mean()
    powers = np.array([values[: values.size - k] @ values[k:] for k in range(_ORDER + 1)])
    if powers[0] <= 0.0:
        return 0.0
    powers[0] *= 1.0 + 1e-4
    error, taps = powers[0], np.zeros(0)
    for order in range(1, _ORDER + 1):
        reflection = (powers[order] - taps @ powers[order - 1 : 0 : -1]) / error
        taps = np.append(taps - reflection * taps[::-1], reflection)
        error *= 1.0 - reflection**2
    return float(powers[0] / error)


def _values(payload: bytes, name: str) -> NDArray[np.float64]:
    """Return the samples of all channels, in any unit."""
    if name in _LAWS:
        decoded = _LAWS[name].decode(payload)
        assert decoded is not None
        return decoded[:, 0].astype(np.float64)
    size = SAMPLE_BYTES[name]
    whole = np.frombuffer(payload, np.uint8, len(payload) // size * size).reshape(-1, size)
    return np.ascontiguousarray(whole[:, :2]).view(">i2")[:, 0].astype(np.float64)
