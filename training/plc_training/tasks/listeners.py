"""Perceptual scores with gradients: PLCMOS and an outline of PESQ.

Both score whole clips at 16 kHz, and so measure how audible a fill is, which measures of single
bursts do not. A network can learn artefacts that raise a score (PLCMOS rises with a hiss at 7 kHz),
so a loss needs measures of the signal beside them.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from plc_bench.scores.speech import plcmos_path
from plc_training.networks.onnx_graph import gru_state, read_tensors

# PLCMOS v2: Hamming frames of 512 every 256; log power is divided by this scale.
_FRAME = 512
_HOP = 256
_SCALE = 20.0
# Added to the power, so that empty bins have a finite logarithm.
_LEAST_POWER = 1e-12
_RATER = 64
_SLOPE = 0.1
_EMBEDDED = ("embed_dense1", *(f"embed_dense2.{k}" for k in range(4)), "embed_dense3")
_JUDGED = ("dense1", *(f"dense2.{k}" for k in range(4)))

# P.862 at 16 kHz, from its tables: for each of 49 Bark bands its centre, its number of bins of
# 31.25 Hz, their weight, and the threshold of hearing.
_CENTRES = (
    *(0.0787, 0.3163, 0.6366, 0.9612, 1.2905, 1.6242, 1.9626, 2.3056, 2.6534, 3.0059, 3.3632),
    *(3.7254, 4.0925, 4.4645, 4.8415, 5.2236, 5.6109, 6.0033, 6.4009, 6.8038, 7.2120, 7.6256),
    *(8.0446, 8.4692, 8.8992, 9.3349, 9.7763, 10.2234, 10.6762, 11.1350, 11.5996, 12.0701),
    *(12.5467, 13.0294, 13.5182, 14.0133, 14.5146, 15.0222, 15.5362, 16.0567, 16.5838, 17.1174),
    *(17.6577, 18.2047, 18.7585, 19.3192, 19.8868, 20.4614, 21.0430),
)
_BINS = (
    *(1, 1, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 4),
    *(3, 4, 5, 4, 5, 6, 6, 7, 8, 9, 9, 12, 12, 15, 16, 18, 21, 25, 20),
)
_WEIGHTS = (
    *(100, 100, 100, 100, 100, 100, 100, 100, 50, 100, 100, 100, 100, 100, 53.05, 110, 118, 65),
    *(68.76, 70, 71.43, 75, 76.84, 80.97, 88.65, 63.86, 68.16, 72.55, 75.58, 58.38, 80.95, 64.14),
    *(54.38, 73.82, 64.44, 59.18, 65.52, 61.4, 58.14, 57, 64.13, 54.31, 61.11, 55.08, 56.85),
    *(55.63, 53.14, 54.99, 79.55),
)
_THRESHOLDS = (
    *(51286152.0, 2454709.5, 70794.59, 4897.79, 1174.9, 389.05, 104.71, 45.71, 17.78, 9.772),
    *(4.898, 3.09, 1.905, 1.259, 0.9772, 0.7244, 0.5623, 0.4571, 0.3891, 0.3311, 0.2951, 0.2692),
    *(0.257, 0.2512, 0.2512, 0.2512, 0.2512, 0.263, 0.2884, 0.309, 0.3388, 0.3715, 0.3981, 0.4365),
    *(0.4677, 0.4898, 0.5012, 0.5012, 0.5129, 0.5248, 0.5248, 0.5248, 0.5129, 0.4786, 0.4266),
    *(0.3715, 0.3631, 0.4169, 0.537),
)
_POWER_SCALE = 6.910853e-6
_LOUDNESS_SCALE = 0.1866055
_LOUDNESS_POWER = 0.23
# The wide-band input filter of P.862.2 at 16 kHz, a high-pass: numerator and denominator.
_INPUT_FILTER = ((2.740826, -5.4816519, 2.740826), (1.0, -1.9444777, 0.94597794))
# Mean power between 350 and 3250 Hz to which each signal is scaled.
_LEVEL = 1e7
_SPEECH_BINS = slice(11, 105)
# Spectra are equalised by means over the frames with more audible power than this; there, bands
# count that are 20 dB above the threshold of hearing.
_ACTIVE = 1e7
_CLEARLY = 100.0
_LEAST_MEAN = 1e3
# Disturbances are averaged with power 6 over 20 frames, every 10, then with power 2.
_INTERVAL = 20
_STEEP = 6.0
_MOST = 45.0
_BEST_SCORE, _SYMMETRIC, _ADDED = 4.5, 0.1, 0.0309


class Plcmos(nn.Module):
    """PLCMOS v2 [1]_ with the fixed weights of the package ``speechmos``.

    As :func:`plc_bench.scores.speech.plcmos`, except that empty bins count as -120 dB.

    Raises
    ------
    MissingExtraError
        If ``speechmos`` is not installed.

    References
    ----------
    .. [1] L. Diener et al., "PLCMOS: a data-driven non-intrusive metric for the evaluation of
       packet loss concealment algorithms", Interspeech, 2023.
    """

    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        graph, tensors = read_tensors(plcmos_path().read_bytes())
        # The exporter's own tensors contain "::"; those of the GRUs are found by their nodes.
        named = {name: value for name, value in tensors.items() if "::" not in name}
        self._names = {name: name.replace(".", "_") for name in named}
        for name, value in named.items():
            self.register_buffer(self._names[name], value)
        self.grus = nn.ModuleList()
        for node in graph.node:
            if node.op_type == "GRU":
                weights = [tensors[key] for key in node.input[1:4]]
                sizes = weights[0].shape[-1], weights[1].shape[-1]
                self.grus.append(nn.GRU(*sizes, batch_first=True, bidirectional=True))
                self.grus[-1].load_state_dict(gru_state(*weights))
        shape = torch.tensor(np.hamming(_FRAME + 1)[:-1], dtype=torch.float32)
        self.register_buffer("window", shape)
        for weight in self.parameters():
            weight.requires_grad_(False)

    def forward(self, signals: Tensor, raters: Tensor) -> Tensor:
        """Return the mean opinion score of each signal, about 1 to 5.

        Parameters
        ----------
        signals : float32, shape (batch, n), speech at 16 kHz
        raters : float32, shape (count, 64)
            Raters to average over, drawn from a normal distribution.

        Returns
        -------
        float32, shape (batch,)
        """
        heard = self._heard(signals)
        minds = raters
        for name in _EMBEDDED:
            minds = functional.leaky_relu(self._dense(name, minds), _SLOPE)
        pairs = (heard.shape[0], minds.shape[0], -1)
        x = torch.cat([heard[:, None].expand(pairs), minds[None].expand(pairs)], dim=-1)
        for name in _JUDGED:
            x = functional.leaky_relu(self._dense(name, x), _SLOPE)
        scores: Tensor = 1.0 + 4.0 * torch.sigmoid(self._dense("dense3", x)[..., 0])
        return scores.mean(dim=1)

    def _heard(self, signals: Tensor) -> Tensor:
        n = signals.shape[1]
        frames = -(-(n + _HOP) // _HOP)
        beyond = (frames - 1) * _HOP + _FRAME - _HOP - n
        padded = functional.pad(signals, (_HOP, beyond))
        power = _power(padded, self.window, _HOP)
        x = (torch.log(power + _LEAST_POWER) / _SCALE)[:, None]
        for k in (1, 2, 3):
            name = f"in_blocks.0.conv{k}"
            weight, bias = self._weight(f"{name}.weight"), self._weight(f"{name}.bias")
            x = functional.conv2d(x, weight, bias, padding=1, dilation=(2, 1))
            x = functional.max_pool2d(functional.leaky_relu(x, _SLOPE), (1, 4))
        x = x.permute(0, 2, 3, 1).flatten(2)
        project = "in_blocks.0.conv_project"
        x = functional.linear(
            x, self._weight(f"{project}.weight")[..., 0], self._weight(f"{project}.bias")
        )
        for gru in self.grus:
            x, last = gru(x)
        return torch.cat([last[0], last[1]], dim=-1)

    def _dense(self, name: str, x: Tensor) -> Tensor:
        return functional.linear(x, self._weight(f"{name}.weight"), self._weight(f"{name}.bias"))

    def _weight(self, name: str) -> Tensor:
        found: Tensor = self.get_buffer(self._names[name])
        return found


class PesqOutline(nn.Module):
    """Wide-band PESQ [1]_ without alignment in time or reassessment of bad intervals.

    A concealed signal has its reference's length and is mostly equal. The input filter weights the
    bins of each frame, and the level is that of the same frames.

    References
    ----------
    .. [1] ITU-T P.862, "Perceptual evaluation of speech quality (PESQ)", 2001, sections 10.1
       and 10.2; P.862.2, 2007.
    """

    centres: Tensor
    bands: Tensor
    heard_from: Tensor
    widths: Tensor
    steepness: Tensor
    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        bands = torch.zeros(len(_BINS), _FRAME // 2 + 1)
        first = 0
        for band, (bins, weight) in enumerate(zip(_BINS, _WEIGHTS, strict=True)):
            bands[band, first : first + bins] = weight * _POWER_SCALE
            first += bins
        angles = 2.0 * math.pi / _FRAME * torch.arange(_FRAME // 2 + 1)
        turns = torch.exp(-1j * torch.outer(angles, torch.arange(3)))
        above, below = (turns @ torch.tensor(taps, dtype=turns.dtype) for taps in _INPUT_FILTER)
        bands *= (above / below).abs() ** 2
        centres = torch.tensor(_CENTRES)
        between = (centres[1:] + centres[:-1]) / 2
        last = centres[-1] + (centres[-1] - centres[-2]) / 2
        edges = torch.cat([torch.zeros(1), between, last[None]])
        # Loudness grows faster with power below 4 Bark.
        low = (6.0 / (centres + 2.0)).clamp(max=2.0) ** 0.15
        self.register_buffer("bands", bands)
        self.register_buffer("heard_from", torch.tensor(_THRESHOLDS))
        self.register_buffer("widths", edges.diff())
        self.register_buffer("steepness", _LOUDNESS_POWER * torch.where(centres < 4.0, low, 1.0))
        self.register_buffer("window", torch.hann_window(_FRAME))

    def forward(self, references: Tensor, signals: Tensor) -> Tensor:
        """Return an estimate of PESQ's raw score, up to 4.5.

        :func:`mapped` gives the reported score. The raw score has the same slope for bad and good
        clips, the mapped score has not.

        Parameters
        ----------
        references, signals : float32, shape (batch, n)
            Speech at 16 kHz, ``n`` at least 5376 (20 frames).

        Returns
        -------
        float32, shape (batch,)
        """
        wanted, found = (self._at_level(x) for x in (references, signals))
        active = self._audible(wanted, _CLEARLY) >= _ACTIVE
        ours, theirs = (self._mean(x, active) for x in (wanted, found))
        wanted = wanted * ((theirs + _LEAST_MEAN) / (ours + _LEAST_MEAN)).clamp(1e-2, 1e2)
        found = found * _level_of(self._audible(wanted), self._audible(found))[..., None]
        loud, heard = self._loudness(wanted), self._loudness(found)
        error = (heard - loud).abs() - 0.25 * torch.minimum(loud, heard)
        error = torch.relu(error[..., 1:]) * self.widths[1:]
        total = self.widths[1:].sum()
        symmetric = torch.sqrt((error**2).sum(-1) / total + 1e-12) * total
        share = ((found + 50.0) / (wanted + 50.0)) ** 1.2
        added = torch.where(share < 3.0, 0.0, share.clamp(max=12.0))[..., 1:]
        asymmetric = (error * added).sum(-1)
        weight = ((wanted.sum(-1) + 1e5) / 1e7) ** 0.04
        worse, more = (_over_time((x / weight).clamp(max=_MOST)) for x in (symmetric, asymmetric))
        return _BEST_SCORE - _SYMMETRIC * worse - _ADDED * more

    def _at_level(self, signals: Tensor) -> Tensor:
        """Return the power in bands of frames, at the standard's level."""
        power = _power(signals, self.window, _HOP)
        # One-sided spectra of this window have 96 times the window's length as much power.
        scale = _LEVEL * 96.0 * _FRAME / (power[..., _SPEECH_BINS].sum(-1).mean(1) + 1e-9)
        return (power * scale[:, None, None]) @ self.bands.T

    def _audible(self, bands: Tensor, factor: float = 1.0) -> Tensor:
        loud = bands > factor * self.heard_from
        heard: Tensor = torch.where(loud, bands, 0.0)[..., 1:].sum(-1)
        return heard

    def _mean(self, bands: Tensor, active: Tensor) -> Tensor:
        """Return the mean power of each band over active frames.

        Only clearly audible power counts.
        """
        loud = (bands > _CLEARLY * self.heard_from) & active[..., None]
        frames = active.sum(1).clamp(min=1)[:, None, None]
        return torch.where(loud, bands, 0.0).sum(1, keepdim=True) / frames

    def _loudness(self, bands: Tensor) -> Tensor:
        over = (0.5 + 0.5 * bands / self.heard_from) ** self.steepness - 1.0
        loudness = _LOUDNESS_SCALE * (self.heard_from / 0.5) ** self.steepness * over
        return torch.where(bands > self.heard_from, loudness, 0.0)


def mapped(raw: Tensor) -> Tensor:
    """Return the reported PESQ, 1 to 4.64, of a raw score (P.862.2)."""
    return 0.999 + 4.0 / (1.0 + torch.exp(3.8224 - 1.3669 * raw))


def _power(x: Tensor, window: Tensor, hop: int) -> Tensor:
    """Return power spectra, shape (batch, frames, bins)."""
    spectra = torch.fft.rfft(x.unfold(1, window.shape[0], hop) * window)
    power: Tensor = spectra.real**2 + spectra.imag**2
    return power


def _level_of(wanted: Tensor, found: Tensor) -> Tensor:
    """Return the smoothed gain that equalises each frame's power."""
    ratio = (wanted + 5e3) / (found + 5e3)
    once, twice = (functional.pad(ratio, (k, 0), value=1.0)[:, : ratio.shape[1]] for k in (1, 2))
    return (0.8 * ratio + 0.16 * once + 0.04 * twice).clamp(3e-4, 5.0)


def _over_time(frames: Tensor) -> Tensor:
    intervals = frames.unfold(1, _INTERVAL, _INTERVAL // 2)
    worst = ((intervals**_STEEP).mean(-1) + 1e-9) ** (1.0 / _STEEP)
    return torch.sqrt((worst**2).mean(1) + 1e-9)


def drawn_raters(count: int, generator: torch.Generator | None = None) -> Tensor:
    """Return random raters for :class:`Plcmos`, shape (count, 64)."""
    return torch.randn(count, _RATER, generator=generator)
