"""Scores of a trained restorer on damaged spectrograms of given clips.

Every patch of a clip is damaged once, by a seed of the clip's name, and repaired three ways: not at
all, by linear interpolation along time, and by the network. Gains are over the damaged patch, as
in the document. Intervals are a bootstrap over works: a clip's name without its last number.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plc.errors import ConfigError
from plc.files.pages.picture import blank_figure, save
from plc.papers.restore import FRAMES, HOP_SAMPLES, PATCH_SAMPLES, SAMPLE_RATE
from plc_bench.base.compare import PairedDifference, paired_difference
from plc_bench.base.corpus import clip_seed, find_clips, read_clip
from plc_training.papers.damaged import draw_lost, loud_patches, psnr_db, ssim
from plc_training.papers.restore import RestoreTask, batch_of
from plc_training.papers.restorers import Restorer
from plc_training.train.run import open_best

REPAIRS = ("damaged", "linear", "network")
SHARES = ((0.0, 0.25), (0.25, 0.45), (0.45, 1.0), (0.0, 1.0))
"""Shares of lost frames that are told apart: from, and below which; the last is all."""
# Range of a picture's colours.
_SHOWN_DB = 70.0
# From one patch of a clip to the next.
_SHIFT = FRAMES * HOP_SAMPLES
_BATCH = 16


@dataclass(frozen=True, slots=True)
class Restored:
    """Scores of the patches of some clips.

    Attributes
    ----------
    works : tuple of str, work of each patch
    shares : float64, shape (patches,)
        Of lost frames, 0 to 1.
    psnr_db, ssim : float64, shape (3, patches), by :data:`REPAIRS`
    """

    works: tuple[str, ...]
    shares: NDArray[np.float64]
    psnr_db: NDArray[np.float64]
    ssim: NDArray[np.float64]

    def gain(
        self, score: str, over: str, share: tuple[float, float], repair: str = "network"
    ) -> PairedDifference:
        """Return the gain of a repair over another, with its interval.

        Parameters
        ----------
        score : str, ``"psnr_db"`` or ``"ssim"``
        over, repair : str, of :data:`REPAIRS`
        share : (float, float)
            Share of lost frames from, and below which.
        """
        scores: NDArray[np.float64] = getattr(self, score)
        chosen = (self.shares >= share[0]) & (self.shares < share[1])
        first, second = (scores[REPAIRS.index(each), chosen] for each in (repair, over))
        groups = [work for work, kept in zip(self.works, chosen, strict=True) if kept]
        return paired_difference(
            first.tolist(), second.tolist(), lower_is_better=False, groups=groups
        )


def open_restorer(folder: Path) -> tuple[RestoreTask, Restorer]:
    """Return the task of a run, and its best network.

    Raises
    ------
    ConfigError
        If the folder holds no run of this task, or no best weights yet.
    """
    task, network = open_best(folder, RestoreTask)
    assert isinstance(network, Restorer)
    return task, network


def score_clips_of(
    task: RestoreTask, network: Restorer, sources: Sequence[Path], most: int = 0
) -> Restored:
    """Return the scores of the clips in folders or files.

    Parameters
    ----------
    task : RestoreTask, makes the network's inputs
    network : Restorer, ready to judge
    sources : sequence of Path
        Folders, audio files or manifests.
    most : int
        Patches of a clip at most, evenly spread; 0: all.

    Raises
    ------
    ConfigError
        If they hold no clip that is long and loud enough for a patch.
    AudioFileError
        If a clip cannot be read.
    """
    works: list[str] = []
    shares, psnrs, ssims = [], [], []
    for path in find_clips(sources):
        lines = _patches(path, most)
        lost = draw_lost(len(lines), np.random.default_rng(clip_seed(path.name)))
        works += [re.sub(r"_\d+$", "", path.stem)] * len(lines)
        for begin in range(0, len(lines), _BATCH):
            part = slice(begin, begin + _BATCH)
            of_psnr, of_ssim = _scores(task, network, lines[part], lost[part])
            psnrs.append(of_psnr)
            ssims.append(of_ssim)
            shares.append(lost[part].mean(axis=1))
    if not works:
        raise ConfigError(
            f"{' and '.join(map(str, sources))}: no clip has {PATCH_SAMPLES / SAMPLE_RATE:.2f} s "
            "that are loud enough to be damaged; give longer clips"
        )
    return Restored(
        tuple(works),
        np.concatenate(shares),
        np.concatenate(psnrs, axis=1),
        np.concatenate(ssims, axis=1),
    )


def table(restored: Restored) -> list[str]:
    """Return a table of gains by the share of lost frames."""
    head = f"{'lost':>10} {'patches':>7}  {'damaged':>8}  {'linear':>7}  {'network (95 %)':>24}"
    lines = [f"{head}  {'network - linear (95 %)':>25}  {'SSIM linear, network':>20}"]
    for share in SHARES:
        chosen = (restored.shares >= share[0]) & (restored.shares < share[1])
        if not chosen.any():
            continue
        linear = restored.gain("psnr_db", "damaged", share, "linear")
        ours, over = (restored.gain("psnr_db", each, share) for each in ("damaged", "linear"))
        of_ssim = [restored.gain("ssim", "damaged", share, each).mean for each in REPAIRS[1:]]
        name = "all" if share == SHARES[-1] else f"{100 * share[0]:.0f}-{100 * share[1]:.0f} %"
        level = restored.psnr_db[0, chosen]
        lines.append(
            f"{name:>10} {ours.pairs:>7}  {level[np.isfinite(level)].mean():>8.2f}  "
            f"{linear.mean:>+7.2f}  {shown(ours):>24}  "
            f"{shown(over):>25}  "
            f"{of_ssim[0]:>+10.3f}, {of_ssim[1]:>+.3f}"
        )
    return lines


def draw_patch(path: Path, task: RestoreTask, network: Restorer, clip: Path, share: float) -> None:
    """Draw one patch of a clip: damaged, repaired twice, and true.

    Parameters
    ----------
    path : Path, the picture, a PNG
    task : RestoreTask, makes the network's inputs
    network : Restorer, ready to judge
    clip : Path
        An audio file; its middle patch is taken.
    share : float
        Of lost frames, 0 to 1.

    Raises
    ------
    ConfigError
        If the clip has no patch that is long and loud enough.
    AudioFileError, MissingExtraError
        If the picture cannot be written, or matplotlib is missing.
    """
    lines = _patches(clip, 0)
    if not len(lines):
        raise ConfigError(f"{clip} is too short or too quiet for a patch; give another clip")
    rng = np.random.default_rng(clip_seed(clip.name))
    lost = rng.permutation(FRAMES) < round(share * FRAMES)
    batch = batch_of(lines[len(lines) // 2][None], lost[None])
    with torch.no_grad():
        repairs = task.repairs(network, batch)
    scores = [float(psnr_db(repair, batch["truth"])) for repair in repairs]
    names = [
        f"{name}, {score - scores[0]:+.1f} dB"
        for name, score in zip(REPAIRS[1:], scores[1:], strict=True)
    ]
    titles = [f"damaged: {100 * lost.mean():.0f} % lost", *names, "truth"]
    figure = blank_figure(9.6, 2.8)
    axes = figure.subplots(1, len(titles), sharey=True)
    decibels = [_decibels(patch[0, 0]) for patch in (*repairs, batch["truth"])]
    top = float(decibels[-1].max())
    extent = (0.0, 1000.0 * FRAMES * HOP_SAMPLES / SAMPLE_RATE, 0.0, SAMPLE_RATE / 2000.0)
    for ax, title, picture in zip(axes, titles, decibels, strict=True):
        image = ax.imshow(
            picture,
            origin="lower",
            aspect="auto",
            extent=extent,
            cmap="magma",
            interpolation="nearest",
            vmin=top - _SHOWN_DB,
            vmax=top,
        )
        ax.set(title=title, xlabel="ms")
    axes[0].set_ylabel("kHz")
    figure.colorbar(image, ax=axes, label="dB")
    save(figure, path)


def _decibels(patch: Tensor) -> NDArray[np.float64]:
    level: NDArray[np.float64] = 20.0 * np.log10(patch.double().clamp_min(1e-9).numpy())
    return level


def shown(difference: PairedDifference) -> str:
    """Return a mean difference with its interval."""
    return f"{difference.mean:+.2f} ({difference.interval('+.2f')})"


def _patches(path: Path, most: int) -> NDArray[np.float32]:
    """Return a clip's patches that are loud enough, shape (patches, samples)."""
    x = read_clip(path, SAMPLE_RATE).signal.mean(axis=1, dtype=np.float32)
    loud = list(loud_patches(x, _SHIFT))
    if most and len(loud) > most:
        loud = [loud[i * len(loud) // most] for i in range(most)]
    return np.array(loud, np.float32).reshape(-1, PATCH_SAMPLES)


@torch.no_grad()
def _scores(
    task: RestoreTask, network: Restorer, lines: NDArray[np.float32], lost: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the PSNR and similarity of every repair, shape (3, patches) each."""
    batch = batch_of(lines, lost)
    repairs = task.repairs(network, batch)
    of_psnr = torch.stack([psnr_db(repair, batch["truth"]) for repair in repairs])
    of_ssim = torch.stack([ssim(repair, batch["truth"]) for repair in repairs])
    return of_psnr.numpy(), of_ssim.numpy()
