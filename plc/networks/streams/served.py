"""One network, open for a stream: its memory, its drafts, its thread and its cost."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from plc.errors import ConfigError
from plc.limits import MUSIC_RATE
from plc.models.manifest import Manifest
from plc.networks.drafts import CAUSAL_DRAFTS, BridgeDraft, BurstDraft, Draft, PredictionDraft
from plc.networks.spectra import GapSpectra
from plc.networks.streams.costs import ANSWER_WITHIN_S, COSTS, UNKNOWN, Cost, Costs
from plc.networks.streams.switch import Switch, state_of
from plc.runtime.network import GapNetwork, NetworkShape, network_signature, open_network
from plc.runtime.runner import (
    InlineRunner,
    NetworkCounters,
    Runnable,
    Runner,
)
from plc.runtime.worker import NetworkWorker
from plc_kernels.stream.network import PROMPT_PACKET_MS

DRAFTS = {
    "causal": tuple(CAUSAL_DRAFTS),
    "bridge": (BridgeDraft.PLAIN, BridgeDraft.ALONG_THE_PITCH),
}
"""By kind: the drafts that a stream can make for a model, the last being what it improves on."""
OPEN_S = 120.0
"""Waiting for a model to load and warm up, at construction."""


def open_on_provider(manifest: Manifest, shape: NetworkShape, provider: str) -> GapNetwork:
    """Return a model's network, ready to run on a shape (:func:`open_network`)."""
    return open_network(manifest, shape, providers=provider)


@dataclass(frozen=True, slots=True)
class Opener:
    """Functions that open and measure networks.

    Attributes
    ----------
    network : callable
        Opens a model for a shape on a provider.
    costs : Costs
        What bursts cost.
    """

    network: Callable[[Manifest, NetworkShape, str], Runnable] = open_on_provider
    costs: Costs = COSTS


OPENER = Opener()
"""Opens networks, and measures them once in a process."""


@dataclass(frozen=True, slots=True)
class StreamContext:
    """A stream, and the conditions that its networks run under.

    Attributes
    ----------
    sample_rate, channels, packet_samples
        The format, in Hz and samples.
    limit_ms : float
        Time that the first concealment of a burst may take.
    reach : int
        The longest bridge that will be asked for, and the most samples known beyond it.
    clock : callable
        Returns seconds.
    provider : str
        What the networks run on: ``"auto"``, ``"tensorrt"``, ``"cuda"`` or ``"cpu"``.
    counters : NetworkCounters
        Where runs are counted.
    opener : Opener
        How networks are opened and measured.
    """

    sample_rate: int
    channels: int
    packet_samples: int
    limit_ms: float = math.inf
    reach: int = 0
    clock: Callable[[], float] = time.perf_counter
    provider: str = "auto"
    counters: NetworkCounters = field(default_factory=NetworkCounters)
    opener: Opener = field(default_factory=lambda: OPENER)

    @property
    def stream(self) -> tuple[int, int, int]:
        """Sample rate, channels and samples of a packet."""
        return self.sample_rate, self.channels, self.packet_samples

    @property
    def packet_ms(self) -> float:
        """A packet's duration."""
        return 1000.0 * self.packet_samples / self.sample_rate


DraftOf = TypeVar("DraftOf", bound=Draft)


@dataclass(slots=True)
class ServedNetwork(Generic[DraftOf]):
    """One model, open for a stream."""

    manifest: Manifest
    context: StreamContext
    gap: GapSpectra
    runner: Runner
    draft: DraftOf
    prompt: bool
    """Whether the first packet of a burst waits for it."""
    switch: Switch
    cost: Cost = UNKNOWN

    @property
    def clock(self) -> Callable[[], float]:
        """The stream's."""
        return self.context.clock

    @property
    def provider(self) -> str:
        """What it was asked to run on."""
        return self.context.provider

    @property
    def state(self) -> str:
        """As :func:`~plc.networks.streams.switch.state_of`."""
        return state_of(self.runner, self.switch)

    @property
    def first_ms(self) -> float:
        """Time that the first packet of a burst pays: its drafts, and the run or the asking."""
        network_ms = self.cost.burst_ms if self.prompt else self.cost.asking_ms
        return self.cost.draft_ms + network_ms

    @property
    def name(self) -> str:
        """Its name in ``stats``."""
        return f"network:{self.manifest.name}"

    def measure_again(self) -> bool:
        """Measure the cost once more, unless that was done often; return whether it was."""
        cost = self.context.opener.costs.again(self)
        self.cost = cost or self.cost
        return cost is not None


def leave_passages(served: ServedNetwork[BurstDraft]) -> None:
    """Draft by linear prediction alone from now on."""
    served.draft = PredictionDraft(served.context.stream, served.gap.gap_start, served.draft.ahead)
    served.cost = replace(served.cost, draft_ms=0.0)


def open_served(
    manifest: Manifest,
    content: str,
    context: StreamContext,
) -> ServedNetwork[Any]:
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
    gap = GapSpectra(manifest, context.sample_rate, context.channels)
    draft = _draft_of(manifest, gap, context)
    signature = network_signature(manifest, gap.shape)

    def opened() -> Runnable:
        return context.opener.network(manifest, gap.shape, context.provider)

    runner: Runner
    if context.limit_ms == math.inf:
        runner = InlineRunner(opened(), signature, context.clock)
    else:
        worker = NetworkWorker(opened, signature, clock=context.clock)
        worker.wait_until_open(OPEN_S)
        runner = worker
    runner.counters = context.counters
    served = ServedNetwork(
        manifest=manifest,
        context=context,
        gap=gap,
        runner=runner,
        draft=draft,
        prompt=is_prompt(manifest, content, context.stream),
        switch=Switch(),
    )
    served.cost = context.opener.costs.of(served)
    return served


def is_prompt(manifest: Manifest, content: str, stream: tuple[int, int, int]) -> bool:
    """Tell whether a burst's first packet waits for the model.

    ``content`` is the one that it serves; ``stream`` is sample rate, channels and packet samples.
    """
    sample_rate, _, packet_samples = stream
    of_music = manifest.content == "music" or content == "music"
    shortest = sample_rate * PROMPT_PACKET_MS / 1000.0
    short = sample_rate >= MUSIC_RATE and packet_samples < shortest
    return manifest.kind == "bridge" or not (of_music or short)


def no_answer() -> str:
    """Return why a network with an infinite cost is not used."""
    return f"it did not answer within {ANSWER_WITHIN_S:g} s"


def _draft_of(manifest: Manifest, gap: GapSpectra, context: StreamContext) -> Draft:
    stream, past = context.stream, gap.gap_start
    if manifest.kind == "bridge":
        follows = manifest.drafts == BridgeDraft.ALONG_THE_PITCH
        return BridgeDraft(stream, past, gap.samples, gap.horizon, context.reach, follows)
    return CAUSAL_DRAFTS[manifest.drafts](stream, past, gap.samples - past)
