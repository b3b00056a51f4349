"""Damaged spectrograms: patches, their losses, their interpolation, and scores of a repair.

As the document's program makes them [1]_: 16 kHz, frames of 256 samples every 64 under a periodic
Hann window, of which a transform of 255 samples sees all but the last; 128 bins. A patch is 128
frames, of which 12 to 88, drawn alike, are lost: isolated frames at random, not bursts.

References
----------
.. [1] github.com/TeleMidia/audio_reconstruction, features_extraction_FMA.ipynb; scores:
   src/lib/utils.py.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from plc.papers import restore as paper
from plc_bench.scores.metrics import GAP_RMS_MIN, rms

LOST_MIN, LOST_MAX = 12, 88
# Frames of the window of structural similarity, and its constants.
_SIDE, _K1, _K2 = 7, 0.01, 0.03


def loud_patches(x: NDArray[np.float32], shift: int) -> Iterator[NDArray[np.float32]]:
    """Yield a clip's patches that are not silent, shape (8384,) each.

    Parameters
    ----------
    x : float32, shape (samples,)
        Full scale 1.0.
    shift : int
        Samples from one patch to the next.
    """
    for start in range(0, x.size - paper.PATCH_SAMPLES + 1, shift):
        patch = x[start : start + paper.PATCH_SAMPLES]
        if rms(patch) >= GAP_RMS_MIN:
            yield patch


def magnitudes(samples: Tensor) -> Tensor:
    """Return patches of samples.

    Parameters
    ----------
    samples : float32, shape (batch, 8384)
        Full scale 1.0.

    Returns
    -------
    float32, shape (batch, 1, 128, 128)
        Bins by frames; 1 is :data:`FULL_SCALE`.
    """
    window = torch.hann_window(paper.FRAME_SAMPLES, periodic=True, device=samples.device)
    frames = (samples.unfold(1, paper.FRAME_SAMPLES, paper.HOP_SAMPLES) * window)[
        ..., : paper.POINTS
    ]
    patch: Tensor = torch.fft.rfft(frames).abs().transpose(1, 2)[:, None] / paper.FULL_SCALE
    return patch


def draw_lost(count: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return which frames of patches are lost, shape (count, 128)."""
    lost = rng.integers(LOST_MIN, LOST_MAX + 1, size=count)
    ranks = rng.random((count, paper.FRAMES)).argsort(axis=1).argsort(axis=1)
    chosen: NDArray[np.bool_] = ranks < lost[:, None]
    return chosen


def centred(columns: NDArray[np.int64], frames: int) -> NDArray[np.bool_]:
    """Return the lost frames of strokes in the middle of patches.

    Parameters
    ----------
    columns : int64, shape (count,)
        Lost frames of each patch. Where the rest is odd, one more is known after the stroke.

    Returns
    -------
    bool, shape (count, frames)
    """
    first = (frames - columns) // 2
    place = np.arange(frames)
    lost: NDArray[np.bool_] = (place >= first[:, None]) & (place < (first + columns)[:, None])
    return lost


def damaged(patch: Tensor, lost: Tensor) -> Tensor:
    """Return patches with zeros in the lost frames; ``lost`` has shape (batch, frames)."""
    return patch * ~lost[:, None, None, :]


def interpolated(patch: Tensor, lost: Tensor) -> Tensor:
    """Return patches with lost frames on straight lines between known ones.

    Before the first known frame and after the last, that one is repeated.

    Parameters
    ----------
    patch : float32, shape (batch, 1, bins, frames)
        Lost frames are not looked at.
    lost : bool, shape (batch, frames)
        At least one frame of each patch is known.
    """
    frames = lost.shape[1]
    place = torch.arange(frames, device=lost.device).expand_as(lost)
    before = torch.where(lost, -1, place).cummax(dim=1).values
    after = torch.where(lost, frames, place).flip(1).cummin(dim=1).values.flip(1)
    first = torch.where(before < 0, after, before)
    last = torch.where(after >= frames, before, after)
    share = (place - first) / (last - first).clamp_min(1)
    shape = patch.shape
    left, right = (patch.gather(3, each[:, None, None, :].expand(shape)) for each in (first, last))
    filled = left + share[:, None, None, :] * (right - left)
    return torch.where(lost[:, None, None, :], filled, patch)


def psnr_db(repaired: Tensor, truth: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio of each patch in dB, shape (batch,).

    The peak is 1 and all frames count; infinite where both are equal.
    """
    error = (repaired - truth).flatten(1).double().square().mean(1)
    return -10.0 * torch.log10(error)


def ssim(repaired: Tensor, truth: Tensor) -> Tensor:
    """Return the structural similarity of each patch, shape (batch,) [2]_.

    Means over windows of 7 x 7 with equal weights, as scikit-image has them. The range is from 0 to
    the largest magnitude of the true patch: beside 1, patches would all look alike.

    References
    ----------
    .. [2] Z. Wang et al., "Image quality assessment: from error visibility to structural
       similarity", IEEE Trans. Image Processing 13 (4), 2004.
    """
    x, y = repaired.double(), truth.double()
    peak = y.amax((1, 2, 3), keepdim=True).clamp_min(1e-12)
    c1, c2 = (_K1 * peak) ** 2, (_K2 * peak) ** 2
    unbiased = _SIDE**2 / (_SIDE**2 - 1)
    mean_x, mean_y = _means(x), _means(y)
    var_x = unbiased * (_means(x * x) - mean_x**2)
    var_y = unbiased * (_means(y * y) - mean_y**2)
    both = unbiased * (_means(x * y) - mean_x * mean_y)
    of_levels = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return (of_levels * (2 * both + c2) / (var_x + var_y + c2)).mean((1, 2, 3))


def _means(x: Tensor) -> Tensor:
    return functional.avg_pool2d(x, _SIDE, stride=1)
