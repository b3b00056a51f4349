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
# Before each of these: in a stream, too, the network's weights have left the processor's nearest
# memory by the time of the next burst. Half as long again is common for what was just run.
_PAUSE_S = 0.02

_costs: dict[tuple[object, ...], tuple[float, float]] = {}


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
    first_ms: float
    """What the first packet of a burst pays of it: all, or only for the asking."""

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
    voice = Voice(manifest, gap, line, Governor(), pitch, prompt, 0.0, 0.0)
    voice.cost_ms, asking_ms = _cost_ms(voice, limit_ms, provider)
    voice.first_ms = voice.cost_ms if prompt else asking_ms
    line.counters = counters
    return voice


def is_prompt(manifest: Manifest, content: str) -> bool:
    """Tell whether the first packet of a burst waits for a model that serves such content."""
    of_music = manifest.content == "music" or content == "music"
    return manifest.kind == "bridge" or not of_music


def _cost_ms(voice: Voice, limit_ms: float, provider: str) -> tuple[float, float]:
    """Return what :func:`_measure_cost` says, measured once in a process and then remembered."""
    if limit_ms == float("inf"):
        return _measure_cost(voice, 0.0)
    key = (voice.manifest.sha256, voice.gap.shape, provider)
    if key not in _costs:
        costs_ms = _measure_cost(voice, _PAUSE_S)
        if costs_ms == (0.0, 0.0):
            return costs_ms
        _costs[key] = costs_ms
    return _costs[key]


def _measure_cost(voice: Voice, pause_s: float) -> tuple[float, float]:
    """Return the ms of one burst but for its draft, and of asking alone; 0 if the network fails.

    The least of a few.
    """
    gap = voice.gap
    gap.lines[:] = np.random.default_rng(0).standard_normal(gap.lines.shape)
    out = np.zeros((gap.lines.shape[0], gap.horizon), np.float32)
    costs_ms = []
    asking_ms = []
    for _ in range(CALIBRATION_RUNS):
        time.sleep(pause_s)
        began = time.perf_counter()
        gap.analyse()
        ticket = voice.line.submit(gap.spectra, gap.lost)
        asked = time.perf_counter()
        outcome = voice.line.collect(ticket, float("inf"), gap.filled)
        if outcome is Outcome.DONE:
            gap.synthesise(out)
            costs_ms.append(1e3 * (time.perf_counter() - began))
            asking_ms.append(1e3 * (asked - began))
    return min(costs_ms, default=0.0), min(asking_ms, default=0.0)
