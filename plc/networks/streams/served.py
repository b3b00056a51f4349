"""The networks of a stream that ONNX Runtime runs: memory, drafts, thread and switch of each.

None is timed beforehand: one that is too slow for the stream misses its first deadlines, where its
draft is played, and is switched off.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

from plc.errors import ConfigError
from plc.limits import MUSIC_RATE
from plc.models.manifest import Manifest
from plc.networks.drafts import CAUSAL_DRAFTS, BridgeDraft, Draft
from plc.networks.spectra import GapSpectra
from plc.networks.streams.switch import Switch
from plc.predict.history import History
from plc.runtime.network import network_signature, open_network
from plc.runtime.providers import Signature
from plc.runtime.runner import InlineRunner, NetworkCounters, Runnable, Runner
from plc.runtime.worker import NetworkWorker
from plc_kernels.stream.network import PROMPT_PACKET_MS

DRAFTS = {
    "causal": tuple(CAUSAL_DRAFTS),
    "bridge": (BridgeDraft.PLAIN, BridgeDraft.ALONG_THE_PITCH),
}
"""By kind: the drafts that a stream can make for a model, the last being what it improves on."""
ANSWER_BY = 0.85
"""Share of the time limit until which an answer is waited for: it has to become samples, too."""
# Shares of the time limit that are linear prediction's: where a burst's first packet waits for the
# answer, and where it only asks.
_LEFT_BY_ANSWER, _LEFT_BY_ASKING = 0.4, 0.6
# Waiting for a model to load and warm up, at construction.
_OPEN_S = 120.0


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
    """

    sample_rate: int
    channels: int
    packet_samples: int
    limit_ms: float = math.inf
    reach: int = 0
    clock: Callable[[], float] = time.perf_counter
    provider: str = "auto"
    counters: NetworkCounters = field(default_factory=NetworkCounters)

    @property
    def stream(self) -> tuple[int, int, int]:
        """Sample rate, channels and samples of a packet."""
        return self.sample_rate, self.channels, self.packet_samples

    @property
    def packet_ms(self) -> float:
        """A packet's duration."""
        return 1000.0 * self.packet_samples / self.sample_rate

    def runner(self, open_it: Callable[[], Runnable], signature: Signature) -> Runner:
        """Open a network: in the caller's thread if there is no time limit, else in its own.

        Raises
        ------
        Exception
            Whatever opening it raises.
        """
        runner: Runner
        if self.limit_ms == math.inf:
            runner = InlineRunner(open_it(), signature)
        else:
            runner = worker = NetworkWorker(open_it, signature, self.clock)
            worker.wait_until_open(_OPEN_S)
        runner.counters = self.counters
        return runner


DraftOf = TypeVar("DraftOf", bound=Draft)


@dataclass(slots=True)
class ServedNetwork(Generic[DraftOf]):
    """One model, open for a stream."""

    manifest: Manifest
    gap: GapSpectra
    runner: Runner
    draft: DraftOf
    prompt: bool
    """Whether the first packet of a burst waits for it."""
    switch: Switch = field(default_factory=Switch)

    @property
    def name(self) -> str:
        """Its name in ``stats``."""
        return f"network:{self.manifest.name}"

    @property
    def left(self) -> float:
        """Share of the time limit that it leaves to the prediction of its drafts."""
        return _LEFT_BY_ANSWER if self.prompt and self.switch.on else _LEFT_BY_ASKING

    def serves(self, history: History, gap_samples: int) -> bool:
        """Tell whether it can be asked about a gap of which the end has arrived."""
        return gap_samples <= self.gap.horizon and history.filled >= self.gap.gap_start

    def describe(self) -> dict[str, str]:
        """Return its name, where it runs, whether it is in use, and what last went wrong."""
        return {"model": self.manifest.name} | described(self.runner, self.switch)


def described(runner: Runner, switch: Switch) -> dict[str, str]:
    """Return mode and state of a network, and its last error if there is one.

    ``state`` is ``on``; ``off`` while it is too often late or fails; ``ended`` or ``hung`` if its
    thread is.
    """
    found = {"mode": "inline" if isinstance(runner, InlineRunner) else "worker"}
    lost = runner.state in ("ended", "hung")
    found["state"] = runner.state if lost else "on" if switch.on else "off"
    return found | ({"error": runner.last_error} if runner.last_error else {})


def open_networks(
    models: Mapping[str, Manifest], context: StreamContext
) -> dict[str, ServedNetwork[Any]]:
    """Open models by content; one that serves two contents alike is opened once.

    Raises
    ------
    ConfigError, ModelError, MissingExtraError
        If a model is not for this stream, takes other drafts or is not sound, or ONNX Runtime is
        not installed.
    """
    networks: dict[str, ServedNetwork[Any]] = {}
    for content, manifest in models.items():
        prompt = _is_prompt(manifest, content, context)
        alike = [v for v in networks.values() if v.manifest is manifest and v.prompt == prompt]
        networks[content] = alike[0] if alike else _opened(manifest, prompt, context)
    return networks


def _opened(manifest: Manifest, prompt: bool, context: StreamContext) -> ServedNetwork[Any]:
    if manifest.drafts not in DRAFTS[manifest.kind]:
        made = " or ".join(", ".join(drafts) for drafts in DRAFTS[manifest.kind])
        raise ConfigError(
            f"model {manifest.name} takes the drafts {', '.join(manifest.drafts)}; "
            f"a stream makes {made} for one that is {manifest.kind}"
        )
    gap = GapSpectra(manifest, context.sample_rate, context.channels)
    draft = _draft_of(manifest, gap, context)
    open_it = partial(open_network, manifest, gap.shape, providers=context.provider)
    runner = context.runner(open_it, network_signature(manifest, gap.shape))
    return ServedNetwork(manifest, gap, runner, draft, prompt)


def _is_prompt(manifest: Manifest, content: str, context: StreamContext) -> bool:
    """Tell whether a burst's first packet waits for the model that serves a content."""
    of_music = manifest.content == "music" or content == "music"
    shortest = context.sample_rate * PROMPT_PACKET_MS / 1000.0
    short = context.sample_rate >= MUSIC_RATE and context.packet_samples < shortest
    return manifest.kind == "bridge" or not (of_music or short)


def _draft_of(manifest: Manifest, gap: GapSpectra, context: StreamContext) -> Draft:
    stream, past = context.stream, gap.gap_start
    if manifest.kind == "bridge":
        follows = manifest.drafts == BridgeDraft.ALONG_THE_PITCH
        return BridgeDraft(stream, past, gap.samples, gap.horizon, context.reach, follows)
    return CAUSAL_DRAFTS[manifest.drafts](stream, past, gap.samples - past)
