"""One network, open for a stream: its memory, its thread, and what a burst of it costs."""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from plc.errors import ConfigError
from plc.limits import MUSIC_RATE
from plc.models.manifest import Manifest
from plc.networks.governor import Governor
from plc.networks.spectra import GapSpectra
from plc.predict.baselines import PitchFiller
from plc.predict.contour import CONTOUR_BRIDGE_DRAFTS, CONTOUR_DRAFTS, ContourBridge, PitchContour
from plc.predict.history import History
from plc.predict.ladder import STEADY
from plc.predict.linear import ArFiller
from plc.predict.passages import PASSAGE_DRAFTS, Passages
from plc.runtime.network import GapNetwork, network_signature, open_network
from plc.runtime.runner import InlineRunner, NetworkCounters, Outcome, Runner
from plc.runtime.worker import NetworkWorker

BRIDGE_DRAFTS = ("forward", "backward", "bridge")
"""What a model for bridges is given: each side continued, and both blended."""
DRAFTS = {
    "causal": (("ar",), ("pitch", "ar"), CONTOUR_DRAFTS, PASSAGE_DRAFTS),
    "bridge": (BRIDGE_DRAFTS, CONTOUR_BRIDGE_DRAFTS),
}
"""By kind: what a model may be given, the last being what it improves on."""
# From MUSIC_RATE on the first packet waits for a model for speech only if it is as long as that: in
# 10 ms at 48 kHz it would seldom be there in time, and those that follow gain nearly as much alone
# (docs/design.md).
_PROMPT_PACKET_MS = 20.0
# Waiting for a model to load and warm up, at construction.
_OPEN_S = 120.0
CALIBRATION_RUNS = 5
# Before each of these: in a stream, too, the network's weights have left the processor's nearest
# memory by the time of the next burst. Half as long again is common for what was just run.
_PAUSE_S = 0.02
# A network that has not answered by then, while its cost is measured, is not used.
ANSWER_WITHIN_S = 5.0
# Of a stream that remembers passages, each packet is listened to: for so long, in that cost.
_LISTENED_S = 0.02
# A machine may be busy when a cost is measured: one that is too high is measured again so often.
_MOST_MEASUREMENTS = 3


@dataclass(frozen=True, slots=True)
class Cost:
    """What a burst takes of this machine, in ms: the least of what was seen.

    0 if it failed each time, infinite if it did not answer.
    """

    burst_ms: float
    """All but the drafts: spectra, inference and samples."""
    asking_ms: float
    """Of that, what passes until the network is at work."""
    measurements: int = 1
    draft_ms: float = 0.0
    """What it takes to let drafts follow the pitch, or passages that sound alike."""


_costs: dict[tuple[object, ...], Cost] = {}
_measuring = threading.Lock()


def _begin_child() -> None:
    """Have a lock that nobody holds: a thread that stayed with the parent may have."""
    global _measuring
    _measuring = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_child)


@dataclass(slots=True)
class ServedNetwork:
    """One model, open for a stream."""

    manifest: Manifest
    gap: GapSpectra
    runner: Runner
    governor: Governor
    pitch: PitchFiller | None
    contour: PitchContour | None
    contour_bridge: ContourBridge | None
    passages: Passages | None
    prompt: bool
    """Whether the first packet of a burst waits for it."""
    provider: str
    """What was asked for."""
    cost: Cost
    clock: Callable[[], float]
    """The runner's."""

    @property
    def state(self) -> str:
        """``on``; ``off`` while it is too often late or fails.

        ``given up`` if its thread ended or hangs and was replaced as often as that is done.
        """
        if self.runner.state == "given up":
            return "given up"
        return "off" if self.governor.level is None else "on"

    @property
    def draft_samples(self) -> int:
        """Samples of linear prediction that a burst's drafts take."""
        return self.contour.ahead if self.contour else self.gap.samples - self.gap.gap_start

    @property
    def first_ms(self) -> float:
        """What the first packet of a burst pays: its drafts, and all or only for asking."""
        network_ms = self.cost.burst_ms if self.prompt else self.cost.asking_ms
        return self.cost.draft_ms + network_ms

    def measure_again(self) -> bool:
        """Measure the cost once more, unless that was done often; return whether it was."""
        if self.cost.burst_ms in (0.0, float("inf")):
            return False
        known = _costs.get(_key(self))
        if known is not None and known.measurements >= _MOST_MEASUREMENTS:
            return False
        self.cost = _measured(self)
        return True

    def leave_passages(self) -> None:
        """Draft without passages from now on."""
        self.passages = None
        self.cost = replace(self.cost, draft_ms=0.0)

    @property
    def name(self) -> str:
        """How ``stats`` call it."""
        return f"network:{self.manifest.name}"


def open_served(
    manifest: Manifest,
    content: str,
    stream: tuple[int, int, int],
    limit_ms: float,
    counters: NetworkCounters,
    clock: Callable[[], float],
    provider: str,
) -> ServedNetwork:
    """Open a model: in the caller's thread if there is no time limit, else in one of its own.

    Raises
    ------
    ConfigError, ModelError, MissingExtraError
        If the model takes other drafts or is not sound, or ONNX Runtime is not installed.
    """
    if manifest.drafts not in DRAFTS[manifest.kind]:
        made = " or ".join(", ".join(drafts) for drafts in DRAFTS[manifest.kind])
        raise ConfigError(
            f"model {manifest.name} takes the drafts {', '.join(manifest.drafts)}; "
            f"a stream makes {made} for one that is {manifest.kind}"
        )
    sample_rate, channels, _ = stream
    gap = GapSpectra(manifest, sample_rate, channels)
    signature = network_signature(manifest, gap.shape)
    pitch = PitchFiller(*stream) if "pitch" in manifest.drafts else None
    contour = None
    if manifest.drafts == CONTOUR_DRAFTS:
        contour = PitchContour(sample_rate, channels, gap.samples - gap.gap_start)
    contour_bridge = None
    if manifest.drafts == CONTOUR_BRIDGE_DRAFTS:
        contour_bridge = ContourBridge(sample_rate, channels, gap.horizon)
    passages = None
    if manifest.drafts == PASSAGE_DRAFTS:
        ahead = gap.samples - gap.gap_start
        passages = Passages(sample_rate, channels, gap.gap_start, ahead)

    def opened() -> GapNetwork:
        return open_network(manifest, gap.shape, providers=provider)

    runner: Runner
    if limit_ms == float("inf"):
        runner = InlineRunner(opened(), signature, clock)
    else:
        worker = NetworkWorker(opened, signature, clock=clock)
        worker.wait_until_open(_OPEN_S)
        runner = worker
    runner.counters = counters
    prompt = is_prompt(manifest, content, stream)
    unknown = Cost(0.0, 0.0, 0)
    served = ServedNetwork(
        manifest=manifest,
        gap=gap,
        runner=runner,
        governor=Governor(),
        pitch=pitch,
        contour=contour,
        contour_bridge=contour_bridge,
        passages=passages,
        prompt=prompt,
        provider=provider,
        cost=unknown,
        clock=clock,
    )
    served.cost = _cost(served)
    return served


def is_prompt(manifest: Manifest, content: str, stream: tuple[int, int, int]) -> bool:
    """Tell whether the first packet of a burst waits for a model that serves such content.

    ``stream`` is sample rate, channels and samples of a packet.
    """
    sample_rate, _, packet_samples = stream
    of_music = manifest.content == "music" or content == "music"
    short = sample_rate >= MUSIC_RATE and packet_samples < sample_rate * _PROMPT_PACKET_MS / 1000.0
    return manifest.kind == "bridge" or not (of_music or short)


def _cost(served: ServedNetwork) -> Cost:
    """Return the cost of a burst: measured once in a process and then remembered.

    Whichever it is, the stream's memory has been used once when this returns.
    """
    if isinstance(served.runner, InlineRunner):
        return _measure(served, 1, 0.0)
    known = _costs.get(_key(served))
    if known is None:
        return _measured(served)
    seen = _measure(served, 1, 0.0)
    return seen if seen.burst_ms == float("inf") else known


def _measured(served: ServedNetwork) -> Cost:
    """Measure the cost as it is in a stream, and remember the least."""
    with _measuring:  # two at once would measure each other
        key = _key(served)
        cost = _measure(served, CALIBRATION_RUNS, _PAUSE_S)
        known = _costs.get(key)
        if cost.burst_ms == float("inf"):
            return cost
        if known is not None:
            seen = cost if cost.burst_ms > 0.0 else known
            cost = Cost(
                min(seen.burst_ms, known.burst_ms),
                min(seen.asking_ms, known.asking_ms),
                known.measurements + 1,
                min(seen.draft_ms, known.draft_ms),
            )
        if cost.burst_ms > 0.0:
            _costs[key] = cost
    return cost


def no_answer() -> str:
    """Return why a network is not used whose cost is infinite."""
    return f"it did not answer within {ANSWER_WITHIN_S:g} s"


def _key(served: ServedNetwork) -> tuple[object, ...]:
    manifest, gap = served.manifest, served.gap
    drafts = (*manifest.drafts, served.passages is not None)
    return manifest.sha256, drafts, gap.shape, gap.rows.shape, served.provider


def _measure(served: ServedNetwork, runs: int, pause_s: float) -> Cost:
    counters = served.runner.counters
    served.runner.counters = NetworkCounters()  # these are no bursts of the stream
    try:
        return _measure_bursts(served, runs, pause_s)
    finally:
        served.runner.counters = counters
        if served.passages is not None:
            served.passages.reset()


def _measure_bursts(served: ServedNetwork, runs: int, pause_s: float) -> Cost:
    gap = served.gap
    gap.rows[:] = np.random.default_rng(0).standard_normal(gap.rows.shape)
    out = np.zeros((gap.rows.shape[0], gap.horizon), np.float32)
    draft = _dearer_draft(served)
    drafts_ms = []
    bursts_ms = []
    asking_ms = []
    for _ in range(runs):
        time.sleep(pause_s)
        began = served.clock()
        draft()
        drafted = served.clock()
        drafts_ms.append(1e3 * (drafted - began))
        gap.analyse()
        ticket = served.runner.submit(gap.spectra, gap.lost)
        asked = served.clock()
        outcome = served.runner.collect(ticket, asked + ANSWER_WITHIN_S, gap.filled)
        if outcome is Outcome.LATE:
            return Cost(float("inf"), float("inf"))
        if outcome.usable:
            gap.synthesise(out)
            bursts_ms.append(1e3 * (served.clock() - drafted))
            asking_ms.append(1e3 * (asked - drafted))
    return Cost(min(bursts_ms, default=0.0), min(asking_ms, default=0.0), draft_ms=min(drafts_ms))


def _dearer_draft(served: ServedNetwork) -> Callable[[], object]:
    """Return what a gap's drafts take beside linear prediction, for sound that asks most of them.

    Other sound takes no longer.
    """
    gap = served.gap
    channels = gap.rows.shape[0]
    if served.passages is not None:
        return _repeated_draft(served.passages)
    followed = served.contour or served.contour_bridge
    if followed is None:
        return lambda: None
    past = followed.past_samples
    cycle = np.random.default_rng(1).standard_normal(past // 12)
    sound = np.tile(np.resize(cycle, past + 2 * gap.horizon), (channels, 1)).astype(np.float32)
    history = History(channels, past)
    history.append(sound[:, :past], trusted=True)
    if isinstance(followed, PitchContour):
        out = gap.rows[:, :, gap.gap_start :]
        return partial(followed.draft, history, _predict_nothing, out)
    after = np.ascontiguousarray(sound[:, past + gap.horizon :])
    side = np.zeros((channels, gap.horizon), np.float32)

    def bridge() -> None:
        followed.forward(history, after, _predict_nothing, gap.horizon, side)
        for c in range(channels):
            followed.backward(c, after[c, ::-1], _predict_nothing, gap.horizon, side[c])

    return bridge


def _repeated_draft(passages: Passages) -> Callable[[], object]:
    """Return what passages cost a burst: all but the prediction, which is predicted anyhow."""
    channels, rate = passages.sum.shape[0], passages.sample_rate
    history = History(channels, passages.past_samples)
    rng = np.random.default_rng(1)
    bar = rng.standard_normal((channels, history.capacity // 16), np.float32)
    sound: NDArray[np.float32] = np.tile(bar, 2)
    for _ in range(8):
        history.append(sound, trusted=True)
    passages.listen(sound)
    packet = np.ascontiguousarray(sound[:, : round(_LISTENED_S * rate)])
    ar = ArFiller(rate, channels, 1, rung=STEADY[0])
    ar.begin(history)
    sample = np.zeros((channels, 1), np.float32)

    def draft() -> None:
        passages.find(history)
        beside = passages.sum[:, : passages.known + 1]
        ar.join(history, beside, passages.peaks, passages.found, sample)
        passages.listen(packet)

    return draft


def _predict_nothing(out: NDArray[np.float32]) -> None:
    out.fill(0.0)
