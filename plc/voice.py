"""One network, open for a stream: its memory, its thread, and what a burst of it costs."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from plc.baselines import PitchFiller
from plc.encoder import Encoder, encoder_signature, open_encoder
from plc.governor import Governor
from plc.hybrid import GapSpectra
from plc.line import EncoderCounters, EncoderLine, InlineEncoder, Outcome
from plc.manifest import Manifest
from plc.worker import EncoderWorker

# Waiting for a model to load and warm up, at construction.
_OPEN_S = 120.0
CALIBRATION_RUNS = 5


@dataclass(slots=True)
class Voice:
    """One model, open for a stream."""

    manifest: Manifest
    gap: GapSpectra
    line: EncoderLine
    governor: Governor
    pitch: PitchFiller | None
    prompt: bool
    """Whether the first packet of a burst waits for it."""
    cost_ms: float
    """Of one burst: spectra, inference and samples, measured at construction."""

    @property
    def name(self) -> str:
        """How ``stats`` call it."""
        return f"encoder:{self.manifest.name}"


def open_voice(
    manifest: Manifest,
    content: str,
    stream: tuple[int, int, int],
    limit_ms: float,
    counters: EncoderCounters,
    clock: Callable[[], float],
    provider: str,
) -> Voice:
    """Open a model: in the caller's thread if there is no time limit, else in one of its own."""
    sample_rate, channels, _ = stream
    gap = GapSpectra(manifest, sample_rate, channels)
    signatures = [encoder_signature(manifest, gap.shape)]

    def open_runner() -> Encoder:
        return open_encoder(manifest, [gap.shape], providers=provider)

    line: EncoderLine
    if limit_ms == float("inf"):
        line = InlineEncoder(open_runner(), signatures, clock)
    else:
        worker = EncoderWorker(open_runner, signatures, clock=clock)
        worker.wait_until_open(_OPEN_S)
        line = worker
    line.counters = EncoderCounters()
    prompt = is_prompt(manifest, content)
    pitch = PitchFiller(*stream) if "pitch" in manifest.drafts else None
    voice = Voice(manifest, gap, line, Governor(), pitch, prompt, 0.0)
    voice.cost_ms = _measure_cost(voice)
    line.counters = counters
    return voice


def is_prompt(manifest: Manifest, content: str) -> bool:
    """Tell whether the first packet of a burst waits for a model that serves such content."""
    of_music = manifest.content == "music" or content == "music"
    return manifest.kind == "bridge" or not of_music


def _measure_cost(voice: Voice) -> float:
    """Return the ms of one burst but for its draft: the least of a few; 0 if the network fails."""
    gap = voice.gap
    gap.lines[:] = np.random.default_rng(0).standard_normal(gap.lines.shape)
    out = np.zeros((gap.lines.shape[0], gap.horizon), np.float32)
    costs_ms = []
    for _ in range(CALIBRATION_RUNS):
        began = time.perf_counter()
        gap.analyse()
        ticket = voice.line.submit(gap.spectra, gap.lost)
        outcome = voice.line.collect(ticket, float("inf"), gap.filled)
        if outcome is Outcome.DONE:
            gap.synthesise(out)
            costs_ms.append(1e3 * (time.perf_counter() - began))
    return min(costs_ms, default=0.0)
