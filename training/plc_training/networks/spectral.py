"""Short-time Fourier transform in torch, equal to the engine's kernels."""

import torch
from torch import Tensor, nn

from plc_kernels.spectra.windows import dual_window, grid_window_samples, window

# Far above 1e-8, below which the exporter takes a number for zero, also when squared.
_LEAST = 1e-2


class Grid(nn.Module):
    """STFT with Hann windows of four hops, and its exact inverse.

    Parameters
    ----------
    bin_hz : float
        Distance between bins; see :func:`plc_kernels.spectra.windows.grid_window_samples`.
    """

    window: Tensor
    dual: Tensor

    def __init__(self, sample_rate: int, bin_hz: float) -> None:
        super().__init__()
        self.samples = grid_window_samples(sample_rate, bin_hz)
        self.hop = self.samples // 4
        self.bins = self.samples // 2 + 1
        shape = window("hann", self.samples)
        self.register_buffer("window", torch.tensor(shape, dtype=torch.float32))
        dual = dual_window(shape, self.hop)
        self.register_buffer("dual", torch.tensor(dual, dtype=torch.float32))

    def analyse(self, x: Tensor) -> Tensor:
        """Return the spectra of all complete frames in ``x``.

        Parameters
        ----------
        x : float32, shape (..., n)
            Samples; the first frame starts at the first sample.

        Returns
        -------
        float32, shape (..., 2, bins, frames)
            Real and imaginary parts.
        """
        frames = x.unfold(-1, self.samples, self.hop) * self.window.to(x.device)
        spectra = torch.fft.rfft(frames).transpose(-1, -2)
        return torch.stack([spectra.real, spectra.imag], dim=-3)

    def synthesise(self, spectra: Tensor) -> Tensor:
        """Return the overlap-add of frames, complete from the fourth hop on.

        Parameters
        ----------
        spectra : float32, shape (batch, 2, bins, frames), real and imaginary parts

        Returns
        -------
        float32, shape (batch, (frames + 3) * hop)
        """
        whole = torch.complex(spectra[:, 0], spectra[:, 1]).transpose(1, 2)
        frames = torch.fft.irfft(whole, self.samples) * self.dual.to(whole.device)
        batch, count, _ = frames.shape
        quarters = frames.reshape(batch, count, 4, self.hop)
        padded = [
            nn.functional.pad(quarters[:, :, quarter], (0, 0, quarter, 3 - quarter))
            for quarter in range(4)
        ]
        return torch.stack(padded).sum(0).reshape(batch, (count + 3) * self.hop)


def magnitude(real: Tensor, imaginary: Tensor, floor: float) -> Tensor:
    """Return ``sqrt(real² + imaginary² + floor²)``.

    Scaled up inside: the export to ONNX drops addends near zero, and silence would then divide by
    zero.
    """
    up = _LEAST / floor
    return torch.sqrt((up * real) ** 2 + (up * imaginary) ** 2 + _LEAST**2) / up
