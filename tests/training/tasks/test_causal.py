"""The causal task: what it shows, and that its figures are the benchmark's."""

import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray

from plc.files.distances import lsd_db
from plc_bench.scores.metrics import mel_spectral_convergence
from plc_training.data.segments import DOMAINS, CausalPlan, Segments
from plc_training.tasks.causal import CausalSettings, CausalTask
from tests.signals import glide
from tests.training.answer import Answer
from tests.training.clips import segments_of

RATE = 16_000
PLAN = CausalPlan(
    sample_rate=RATE,
    packet_ms=(20.0,),
    loss=0.1,
    burst=1.5,
    margin=1280,
    horizon=2160,
    rung=(20.0, 60.0),
    domains=("speech",),
)
SETTINGS = CausalSettings(
    bin_hz=50.0, context_frames=4, width=16, lsd=0.1, mel=1.0, log_mel=0.5, nmse=0.1, level=0.01
)
GAP = 640


def signals(count: int = 4) -> NDArray[np.float32]:
    """Return lines of full scale: truth, pitch draft, AR draft; the drafts fade."""
    out = np.empty((count, 3, PLAN.samples), np.float32)
    fade = np.linspace(1.0, 0.2, PLAN.horizon)
    for k in range(count):
        out[k] = glide(k, RATE, PLAN.samples)
        out[k, 1, PLAN.margin :] *= 0.5 * fade
        out[k, 2, PLAN.margin :] *= fade
    return out


def segments() -> Segments:
    return segments_of(signals(), GAP, DOMAINS.index("speech"))


@pytest.fixture(scope="module")
def task() -> CausalTask:
    return CausalTask(PLAN, SETTINGS, segments(), segments())


def test_what_is_shown_is_what_the_network_takes(task: CausalTask) -> None:
    batch = task.batch(3, np.random.default_rng(0))
    spectra, lost = task.inputs(batch)
    # 24 hops are filled, and three frames more touch them.
    assert spectra.shape == (3, 2, 2, 161, 4 + 3 + 24)
    assert lost.shape == (3, 4 + 3 + 24)
    assert float(lost[:, :4].max()) == 0.0
    assert bool((lost[:, 4:] > 0.0).all())
    output = task.make_network()(spectra, lost)
    assert output.shape == (3, 2, 161, 3 + 24)
    assert task.loss(output, batch).ndim == 0


def test_colours_are_of_the_segment_not_of_its_lines() -> None:
    made = segments()
    made.lines[:, 1] = made.lines[:, 0]
    coloured = CausalTask(PLAN, replace(SETTINGS, colour_db=6.0), made, made)
    lines = coloured.batch(64, np.random.default_rng(1))["lines"].numpy()
    plain = CausalTask(PLAN, SETTINGS, made, made).batch(64, np.random.default_rng(1))["lines"]
    np.testing.assert_allclose(lines[:, 0], lines[:, 1], atol=1e-5)
    gains = 20.0 * np.log10(np.abs(np.fft.rfft(lines[:, 0])) / np.abs(np.fft.rfft(plain[:, 0])))
    # The tone glides, so its own lines stand high above everything else in the spectrum.
    assert 3.0 < gains[:, 40:60].mean(axis=1).std() < 12.0


def test_its_figures_are_the_benchmarks(task: CausalTask) -> None:
    # The benchmark's frames lie at multiples of the hop from the signal's start, the task's from
    # the first sample whose frame touches the gap: so the signal is made to start there.
    figures = task.validate(Answer(-1))
    recovery = round(RATE * 2.5 / 1000)
    lsds, mels = [], []
    for line in signals():
        heard = line[0].copy()
        stop = PLAN.margin + GAP
        heard[PLAN.margin : stop] = line[2, PLAN.margin : stop]
        ramp = (recovery - np.arange(recovery) - 0.5) / recovery
        heard[stop : stop + recovery] += ramp * (line[2] - line[0])[stop : stop + recovery]
        lost = np.zeros(line.shape[1], np.bool_)
        lost[PLAN.margin : stop] = True
        first = (PLAN.margin - 512 + 1) % 128
        cut = slice(first, None)
        lsds.append(lsd_db(line[0, cut], heard[cut], lost[cut], RATE))
        mels.append(mel_spectral_convergence(line[0, cut], heard[cut], lost[cut], RATE))
    assert figures["draft_lsd"] == pytest.approx(float(np.mean(lsds)), rel=0.02)
    assert figures["draft_mel"] == pytest.approx(float(np.mean(mels)), rel=0.02)
