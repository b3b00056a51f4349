"""Formats of streams of a pool: what conceals them, and what their packets cost here."""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypedDict

import numpy as np

from plc.engine import snapshots
from plc.engine.config import StreamConfig
from plc.engine.memory import StreamMemory
from plc.engine.methods import LADDER_METHODS, make_method, stream_models
from plc.engine.network_choice import step_networks
from plc.engine.networks import StepNetworks
from plc.engine.prediction import StepPrediction
from plc.errors import ConfigError
from plc.predict.ladder import SERVER, SERVER_DRAFTS, Ladders
from plc.processor_time import thread_clock
from plc_kernels.stream.layout import TAKES
from plc_kernels.stream.many import step_many
from plc_kernels.stream.network import fill_part
from plc_kernels.stream.preparation import BETWEEN
from plc_kernels.stream.step import GO_ON, MORE, PUSH

# In shorter packets most bursts are over before a network answers: it costs twenty times what
# prediction does, and is not heard (docs/notebook.md, "Networks on servers").
_SHORT_MS = 5.0
_RECEIVED, _LOST = 40, 3
"""Packets of noise that are pushed to measure."""
# Less is not to be measured by a clock.
_LEAST_MS = 1e-4


class PoolSettings(TypedDict, total=False):
    """Settings of streams of a pool.

    Attributes
    ----------
    sample_rate, channels, packet_samples, lookahead, packet_ms, seed
        As for :class:`~plc.StreamConfig`; the streams that join together count their seeds on.
    method : str
        ``"server"``, the default: linear prediction by two short rungs, for tens of microseconds a
        lost packet, and the network where packets are of 5 ms or more. ``"auto"``: the best rungs,
        for milliseconds, and the network. ``"ar"``: the best rungs alone. Or
        ``burg:ORDER_MS/PAST_MS``.
    model : str
        Network: ``"auto"``, the default, takes that for speech at the sample rate, up to 96 kHz,
        for about a millisecond a burst of speech; ``"ar"`` takes none.
    """

    sample_rate: int
    channels: int
    packet_samples: int
    packet_ms: float
    lookahead: int
    method: str
    model: str
    seed: int


@dataclass(frozen=True, slots=True)
class Costs:
    """Processor time of a packet in ms."""

    received_ms: float
    lost_ms: float
    """Of one that begins a burst and was not prepared, with the network."""

    def cores(self, packet_ms: float, loss: float) -> float:
        """Return the share of a core that a stream takes.

        Parameters
        ----------
        packet_ms : float
            A packet's duration.
        loss : float
            Share of packets lost.
        """
        return ((1.0 - loss) * self.received_ms + loss * self.lost_ms) / packet_ms


@dataclass(frozen=True, slots=True, eq=False)
class Format:
    """Streams that differ by their seeds alone.

    Attributes
    ----------
    name : str
        Of the method.
    chosen : StepPrediction
        What conceals.
    words : int
        Of a stream's block.
    model : int
        Address of the networks' blocks; 0: there are none.
    prepares : bool
        Whether bursts are prepared.
    costs : Costs
        Of a stream's packets, here.
    layout : str
        Of blocks, for snapshots.
    free : list of int
        Places on its shelves that nobody has, the last of them to be taken first.
    """

    config: StreamConfig
    name: str
    chosen: StepPrediction
    words: int
    model: int
    prepares: bool
    costs: Costs
    layout: str
    free: list[int] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, int]:
        """Samples of a packet, and channels."""
        return self.config.packet_samples, self.config.channels

    @property
    def settings(self) -> PoolSettings:
        """With which its streams are opened."""
        config = self.config
        return {
            "sample_rate": config.sample_rate,
            "channels": config.channels,
            "packet_samples": config.packet_samples,
            "lookahead": config.lookahead,
            "method": self.name,
            "model": config.model,
        }

    def cores(self, loss: float) -> float:
        """Return the share of a core that a stream takes, of which that share is lost."""
        return self.costs.cores(self.config.packet_ms, loss)


def checked(settings: PoolSettings) -> tuple[StreamConfig, str]:
    """Return settings, and the method by its name here; raise ConfigError if one will not do."""
    name, model = settings.get("method", "server"), settings.get("model", "auto")
    if model not in ("auto", "ar"):
        raise ConfigError(f"model is {model!r}; streams of a pool take auto or ar")
    method = "auto" if name == "server" else name
    return StreamConfig(**(settings | {"method": method}), budget_ms=math.inf), name


def new_format(config: StreamConfig, name: str) -> Format:
    """Return a format of streams.

    Parameters
    ----------
    config : StreamConfig
        Without a seed of their own.
    name : str
        The method.

    Raises
    ------
    ConfigError
        If many streams have no such method.
    """
    short = name == "server" and config.packet_ms < _SHORT_MS
    networks = None if short else _networks_of(config)
    prepares = BETWEEN if networks is not None and not config.lookahead else 0
    stream = config.sample_rate, config.channels, config.packet_samples
    if name == "server":
        rungs = SERVER if networks is None else SERVER_DRAFTS
        chosen = StepPrediction(Ladders(*stream, rungs=rungs), networks, prepares)
    elif name in LADDER_METHODS:
        chosen = StepPrediction(Ladders(*stream), networks, prepares)
    elif isinstance(found := make_method(config, 0), StepPrediction):
        chosen = found
    else:
        raise ConfigError(
            f"method is {name!r}; streams of a pool take server, auto, ar or burg:ORDER_MS/PAST_MS"
        )
    first = StreamMemory(config, chosen)
    return Format(
        config,
        name,
        chosen,
        first.block.size,
        first.model,
        bool(prepares),
        _measure(config, chosen),
        snapshots.layout_of(first.block),
    )


def _networks_of(config: StreamConfig) -> StepNetworks | None:
    """Return the network for speech of many streams; None: there is none."""
    if config.method != "auto" or config.model == "ar":
        return None
    manifest = stream_models("auto", config.sample_rate)[0].get("speech")
    if manifest is None or manifest.content != "speech":  # music's hears all that is played
        return None
    found = step_networks(config, {"speech": manifest}, math.inf, optional=True)
    return found if found is not None and found.chosen else None


def _measure(config: StreamConfig, chosen: StepPrediction) -> Costs:
    """Push noise through a stream of its own.

    Parameters
    ----------
    config : StreamConfig
    chosen : StepPrediction
        What conceals.
    """
    networks = chosen.step_networks
    if networks is not None:  # noise is to be taken for its content
        networks = replace(networks, for_all=True)
    memory = StreamMemory(config, StepPrediction(chosen.ladders, networks))
    noise = 0.1 * np.random.default_rng(0).standard_normal((config.packet_samples, config.channels))
    memory.box(np.float32)[:] = noise
    push = _pusher(memory)
    push(True)  # reads all the code that it runs
    push(False)
    received_ms = statistics.median(push(True) for _ in range(_RECEIVED))
    lost_ms = []
    for _ in range(_LOST):
        lost_ms.append(push(False) + sum(push(True) for _ in range(config.lookahead)))
        for _ in range(_RECEIVED):  # past the recovery
            push(True)
    received_ms = max(received_ms, _LEAST_MS)
    return Costs(received_ms, max(min(lost_ms) - config.lookahead * received_ms, received_ms))


def _pusher(memory: StreamMemory) -> Callable[[bool], float]:
    """Return what pushes a packet that came or did not, and returns the ms that took."""
    clock = thread_clock()
    blocks, block = memory.block[None], memory.block
    out = np.empty_like(memory.box(np.float32))

    def push(there: bool) -> float:
        around = memory.inbox, 0, False, memory.missing, 0, out.ctypes.data, 0, 1
        began_s = clock()
        block[TAKES] = there
        flags = step_many(blocks, PUSH, *around)
        while flags & MORE:
            fill_part(block, memory.model, flags)
            flags = step_many(blocks, GO_ON, *around)
        return 1e3 * (clock() - began_s)

    return push
