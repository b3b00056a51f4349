"""The two-sided task: what it shows, and that its figures are the benchmark's."""

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from plc_bench.scores.metrics import snr_ms_db
from plc_training.data.segments import DOMAINS, InpaintPlan, Segments
from plc_training.tasks.inpaint import InpaintSettings, InpaintTask
from tests.signals import tones
from tests.training.answer import Answer

RATE = 16_000
PLAN = InpaintPlan(margin=704, gaps_ms=(40.0, 20.0), per_second={"music": 1.0})
SETTINGS = InpaintSettings(
    bin_hz=62.5, context_frames=4, channels=(8, 12), gru=8, domain_weights={"music": 1.0}
)


def segments(count: int = 6) -> Segments:
    gaps = np.array([PLAN.longest if k % 3 else 320 for k in range(count)], np.int32)
    lines = np.empty((count, 4, PLAN.samples), np.int16)
    for k in range(count):
        x = tones(k, RATE, PLAN.samples)
        x *= 30_000 / np.abs(x).max()
        hole = slice(PLAN.margin, PLAN.margin + gaps[k])
        lines[k] = np.rint(x)
        for d, gain in ((1, 0.0), (2, 0.5), (3, 0.8)):
            lines[k, d, hole] = np.rint(gain * x[hole])
    return Segments(lines, gaps, np.ones(count, np.float32), np.zeros(count, np.uint8))


@pytest.fixture(scope="module")
def task() -> InpaintTask:
    return InpaintTask(PLAN, SETTINGS, segments(), segments())


def test_what_is_shown_is_what_the_network_takes(task: InpaintTask) -> None:
    batch = task.batch(3, np.random.default_rng(0))
    spectra, lost = task.inputs(batch)
    # 640 samples of gap in hops of 64 are ten, and three frames more touch it.
    assert spectra.shape == (3, 3, 2, 129, 4 + 13 + 4)
    assert lost.shape == (3, 21)
    assert float(lost[:, :4].max()) == float(lost[:, -4:].max()) == 0.0
    whole = lost[batch["gaps"] == PLAN.longest]
    assert bool((whole[:, 4:-4] > 0.0).all())
    output = task.make_network()(spectra, lost)
    assert output.shape == (3, 2, 129, 13)
    assert task.loss(output, batch).ndim == 0


def test_what_is_known_is_the_same_in_all_drafts_also_in_colours(task: InpaintTask) -> None:
    settings = replace(SETTINGS, colour_db=6.0)
    coloured = InpaintTask(PLAN, settings, segments(), segments())
    plain, batch = (each.batch(20, np.random.default_rng(3)) for each in (task, coloured))
    known = (1.0 - batch["hole"])[:, None]
    differences = (batch["lines"][:, 1:] - batch["lines"][:, :1]) * known
    assert float(differences.abs().max()) < 1e-3 * float(batch["lines"].abs().max())
    assert not torch.equal(plain["lines"], batch["lines"])
    # The drafts are what they were of the truth.
    hole = batch["hole"][:, None]
    truth, draft = batch["lines"][:, :1] * hole, batch["lines"][:, 3:] * hole
    assert float((draft - 0.8 * truth).norm() / truth.norm()) < 0.1


def test_its_figure_is_the_benchmarks(task: InpaintTask) -> None:
    made = segments()
    expected = [
        snr_ms_db(
            line[0].astype(np.float32) / 32768,
            line[3].astype(np.float32) / 32768,
            (PLAN.margin, PLAN.margin + PLAN.longest),
        )
        for line, gap in zip(made.lines, made.gaps, strict=True)
        if gap == PLAN.longest
    ]
    figures = task.validate(Answer(-1, 4))
    assert figures["music"] == pytest.approx(float(np.mean(expected)), abs=0.01)


def test_domains_without_a_weight_are_not_drawn() -> None:
    made = segments()
    domains = np.array([0, 1, 0, 1, 0, 1], np.uint8)
    mixed = Segments(made.lines, made.gaps, made.peaks, domains)
    weights = {DOMAINS[0]: 0.0, DOMAINS[1]: 1.0}
    settings = InpaintSettings(
        bin_hz=62.5, context_frames=4, channels=(8,), gru=8, domain_weights=weights
    )
    batch = InpaintTask(PLAN, settings, mixed, mixed).batch(40, np.random.default_rng(0))
    drawn = {float(line[0, :200].abs().sum()) for line in batch["lines"]}
    drawn |= {float(line[0, -200:].abs().sum()) for line in batch["lines"]}
    never = {
        float(torch.from_numpy(made.lines[k, 0, :200] / np.float32(32768)).abs().sum())
        for k in (0, 2, 4)
    }
    assert not drawn & never
