"""Scores of trained restorers on damaged spectrograms of given clips, and their comparison.

Every patch of a clip is damaged once, by a seed of the clip's name, and repaired three ways: not at
all, by linear interpolation along time, and by the network. Gains are over the damaged patch, as
in the document. Intervals are a bootstrap over works: a clip's name without its last number.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from plc.errors import ConfigError
from plc.papers.restore import FRAMES, HOP_SAMPLES, PATCH_SAMPLES, SAMPLE_RATE
from plc_bench.base.corpus import clip_seed, find_clips, read_clip
from plc_bench.base.pieces import Row, Scores, aligned, draw_levels, score_pieces, spread
from plc_training.papers import strokes
from plc_training.papers.blocks import counted
from plc_training.papers.comparison import Asked, Comparison
from plc_training.papers.damaged import draw_lost, loud_patches, psnr_db, ssim
from plc_training.papers.restore import RestoreTask
from plc_training.papers.restorers import RESTORERS
from plc_training.papers.stroke import StrokeTask
from plc_training.train.run import open_best, read_run

REPAIRS = ("damaged", "linear", "network")
SHARES = ((0.0, 0.25), (0.25, 0.45), (0.45, 1.0), (0.0, 1.0))
"""Shares of lost frames that are told apart: from, and below which; the last is all."""
# Of the frames in a picture that are lost: the middle of the document's range.
_PICTURE_SHARE = 0.4
# From one patch of a clip to the next.
_SHIFT = FRAMES * HOP_SAMPLES
_BATCH = 16
# Patches of a clip that all restorers are compared by.
_BRIEF_PATCHES = 5


def score_patches(
    task: RestoreTask, network: nn.Module, sources: Sequence[Path], most: int = 0
) -> Scores:
    """Return ``psnr_db`` and ``ssim`` of the clips' patches by :data:`REPAIRS`, and the share lost.

    Parameters
    ----------
    task, network
        As :func:`~plc_training.train.run.open_best` returns them.
    sources : sequence of Path
        As :func:`~plc_bench.base.pieces.score_pieces` takes them.
    most : int
        Patches of a clip at most, evenly spread; 0: all.
    """
    seconds = f"{PATCH_SAMPLES / SAMPLE_RATE:.2f} s that are loud enough to be damaged"
    rows = partial(_rows, task, network, most)
    return score_pieces(sources, rows, f"{seconds}; give longer clips")


@torch.no_grad()
def _rows(task: RestoreTask, network: nn.Module, most: int, path: Path) -> Iterator[Row]:
    lines = _patches(path, most)
    lost = draw_lost(len(lines), np.random.default_rng(clip_seed(path.name)))
    for begin in range(0, len(lines), _BATCH):
        part = slice(begin, begin + _BATCH)
        batch = task.batch_of(lines[part], lost[part])
        repairs = task.repairs(network, batch)
        found = [
            [score(repair, batch["truth"]).tolist() for repair in repairs]
            for score in (psnr_db, ssim)
        ]
        for number, share in enumerate(lost[part].mean(axis=1)):
            row = {
                name: {repair: each[number] for repair, each in zip(REPAIRS, of, strict=True)}
                for name, of in zip(("psnr_db", "ssim"), found, strict=True)
            }
            yield {**row, "lost": {"share": share}}


def table(scores: Scores) -> list[str]:
    """Return a table of gains by the share of lost frames."""
    heads = ("lost", "patches", "damaged", "linear", "network (95 %)", "network - linear (95 %)")
    rows: list[Sequence[str]] = [(*heads, "SSIM linear", "network")]
    lost = scores.values["lost"]["share"]
    for low, high in SHARES:
        chosen = (lost >= low) & (lost < high)
        if not chosen.any():
            continue
        here = scores.among(chosen)
        level = here.values["psnr_db"]["damaged"]
        rows.append(
            (
                "all" if (low, high) == SHARES[-1] else f"{100 * low:.0f}-{100 * high:.0f} %",
                str(here.difference("psnr_db", "network", "damaged").pairs),
                f"{level[np.isfinite(level)].mean():.2f}",
                f"{here.difference('psnr_db', 'linear', 'damaged').mean:+.2f}",
                here.text("psnr_db", "network", "damaged", "+.2f"),
                here.text("psnr_db", "network", "linear", "+.2f"),
                *(f"{here.difference('ssim', each, 'damaged').mean:+.3f}" for each in REPAIRS[1:]),
            )
        )
    return aligned(rows)


def _draw_patch(
    path: Path, task: RestoreTask, network: nn.Module, clip: Path, share: float
) -> None:
    """Draw the middle patch of a clip: damaged, repaired twice, and true."""
    lines = _patches(clip, 0)
    if not len(lines):
        raise ConfigError(f"{clip} is too short or too quiet for a patch; give another clip")
    rng = np.random.default_rng(clip_seed(clip.name))
    lost = rng.permutation(FRAMES) < round(share * FRAMES)
    batch = task.batch_of(lines[len(lines) // 2][None], lost[None])
    with torch.no_grad():
        repairs = task.repairs(network, batch)
    scores = [float(psnr_db(repair, batch["truth"])) for repair in repairs]
    titles = [f"damaged: {100 * lost.mean():.0f} % lost"]
    for name, score in zip(REPAIRS[1:], scores[1:], strict=True):
        titles.append(f"{name}, {score - scores[0]:+.1f} dB")
    every = [patch[0, 0].double().clamp_min(1e-9).numpy() for patch in (*repairs, batch["truth"])]
    levels = [20.0 * np.log10(patch / every[-1].max()) for patch in every]
    ends = (0.0, 1000.0 * FRAMES * HOP_SAMPLES / SAMPLE_RATE, 0.0, SAMPLE_RATE / 2000.0)
    draw_levels(path, dict(zip([*titles, "truth"], levels, strict=True)), ends, "ms")


def _patches(path: Path, most: int) -> NDArray[np.float32]:
    """Return a clip's patches that are loud enough, shape (patches, samples)."""
    x = read_clip(path, SAMPLE_RATE).signal.mean(axis=1, dtype=np.float32)
    loud = spread(list(loud_patches(x, _SHIFT)), most)
    return np.array(loud, np.float32).reshape(-1, PATCH_SAMPLES)


def _tell_runs(asked: Asked) -> Iterator[str]:
    most = asked.count or 0
    for run in asked.runs:
        of_strokes = read_run(run)[0].task.kind == StrokeTask.kind
        if of_strokes and asked.picture is not None:
            raise ConfigError(f"{run} is of strokes; plc train papers contexts draws these")
        if asked.picture is not None:
            clip = find_clips(asked.unseen)[0]
            _draw_patch(asked.picture, *open_best(run, RestoreTask), clip, _PICTURE_SHARE)
        for name, sources in (("unseen", asked.unseen), ("seen", asked.seen)):
            if not sources:
                continue
            yield f"{run.resolve().name}, {name} works"
            if of_strokes:
                for columns in strokes.LENGTHS:
                    task, network = strokes.open_inpainter(run)
                    found = strokes.score_strokes(task, network, sources, columns, most=most)
                    yield from strokes.table(found, columns)
            else:
                yield from table(score_patches(*open_best(run, RestoreTask), sources, most))


def _tell_restorers(asked: Asked) -> Iterator[str]:
    rows: list[Sequence[str]] = [
        ("network", "parameters", "gain in dB (95 %)", "over linear (95 %)")
    ]
    most = asked.count or _BRIEF_PATCHES
    for name in asked.names:
        task, network = open_best(asked.place.folder / name, RestoreTask)
        scores = score_patches(task, network, asked.unseen, most)
        gains = (scores.text("psnr_db", "network", over, "+.2f") for over in REPAIRS[:2])
        rows.append((name, str(counted(network.get_submodule("network"))), *gains))
    yield from aligned(rows)


RESTORED = Comparison(tell=_tell_runs)
"""Runs of the tasks restore and stroke."""
ALL_RESTORERS = Comparison(
    tell=_tell_restorers,
    names=tuple(RESTORERS),
    recipe="restore_brief",
    values=lambda name, steps: {"settings.network": name},
)
"""All restorers, trained briefly."""
