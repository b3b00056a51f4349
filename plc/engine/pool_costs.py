"""What streams of a pool cost here: measured once for each format, before any stream is served."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from plc.engine.config import StreamConfig
from plc.engine.memory import StreamMemory
from plc.engine.prediction import StepPrediction
from plc.processor_time import thread_clock
from plc_kernels.stream.layout import TAKES
from plc_kernels.stream.many import step_many
from plc_kernels.stream.network import fill_part
from plc_kernels.stream.step import GO_ON, MORE, PUSH

_RECEIVED, _LOST = 40, 3
"""Packets of noise that are pushed to measure."""
# Less is not to be measured by a clock.
_LEAST_MS = 1e-4


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


def measure(config: StreamConfig, chosen: StepPrediction) -> Costs:
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
