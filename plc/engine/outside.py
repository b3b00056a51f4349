"""The forward passes of a stream's networks, computed outside its step by ONNX Runtime.

The step makes the rows of a network and the samples of its answer, whoever computes what lies
between (:mod:`plc_kernels.stream.fills`)::

    fill ─▶ fill_part ─ SUBMIT ─▶ worker.submit ─▶ fill_part ─ DONE      the draft is played
         ─▶ fill_part ─ WAIT ──▶ worker.collect, by the deadline ─▶ fill_part ─ DONE

What is late or fails is replaced by the draft. ONNX Runtime's runs are not timed beforehand: a
network that is too slow for its stream misses its first deadlines and is switched off for a while.

Many streams ask only when an answer is due, and those that ask in a turn share a run::

    fill_part of each ─ WAIT ─▶ rows side by side ─▶ one run ─▶ fill_part of each ─ DONE
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from plc.compiled import DirectCall
from plc.engine.runtime.onnx_network import GapNetwork, NetworkShape, network_signature
from plc.engine.runtime.session import open_session
from plc.engine.runtime.worker import ANSWER_BY, NO_TICKET, NetworkCounters, Result, StreamContext
from plc_kernels.stream import fills, layout, preparation
from plc_kernels.stream.gap import FILLED, LOST, NETS, SPECTRA
from plc_kernels.stream.step import BEGAN, WANTS_BRIDGE

if TYPE_CHECKING:
    from plc.engine.memory import StreamMemory
    from plc.engine.models.manifest import Manifest

_fill_part = DirectCall(fills.fill_part)
_hear = DirectCall(preparation.hear)


def open_outside(manifest: "Manifest", shape: NetworkShape, provider: str) -> GapNetwork:
    """Return a network that a provider of ONNX Runtime runs."""
    signature = network_signature(manifest, shape)
    return GapNetwork(manifest, open_session(manifest, signature, providers=provider))


class _Outside:
    """One network: its worker, and its arrays in the stream's memory."""

    def __init__(
        self, manifest: "Manifest", of: str, context: StreamContext, prepares: bool
    ) -> None:
        rate = context.sample_rate
        shape = NetworkShape(manifest.bins(rate), manifest.frames(rate), context.channels)
        open_it = partial(open_outside, manifest, shape, context.provider)
        self.manifest = manifest
        self.net = NETS[of]
        self.place = tuple(NETS).index(of)
        self.worker = context.worker(open_it, network_signature(manifest, shape))
        self.ahead: GapNetwork | None = open_it() if prepares else None
        """For the thread that prepares."""
        self.spectra = self.lost = self.filled = np.zeros(0, np.float32)

    def attach(self, memory: "StreamMemory") -> None:
        """Take the arrays that the step writes and reads."""
        rows, self.lost, self.filled = (
            memory.array(self.net + word) for word in (SPECTRA, LOST, FILLED)
        )
        self.spectra = rows.reshape(self.lost.shape[0], -1, *rows.shape[1:])
        self.cost_ms = float(memory.numbers[layout.NETWORK_MS + self.place])


class OutsideNetworks:
    """The networks of one stream, run by ONNX Runtime.

    Parameters
    ----------
    manifests : dict
        By content of :data:`~plc_kernels.stream.gap.NETS`.
    context : StreamContext
        The stream, and the conditions that they run under.
    prepares : bool
        Whether bursts are prepared, for which another thread runs networks of its own.

    Raises
    ------
    ConfigError, ModelError, MissingExtraError
        As :func:`~plc.engine.runtime.session.open_session` raises them.
    """

    def __init__(
        self, manifests: "dict[str, Manifest]", context: StreamContext, prepares: bool
    ) -> None:
        self._networks = {
            of: _Outside(each, of, context, prepares) for of, each in manifests.items()
        }
        self._by_net = {each.net: each for each in self._networks.values()}
        self._clock = context.clock
        self._wait_s = ANSWER_BY * context.limit_ms / 1000.0
        self._counters = context.counters
        self._asked: _Outside | None = None
        """Whose answer is still to be taken."""
        self._ticket = NO_TICKET
        self._used: _Outside | None = None
        """Whose rows were made since the last packet."""
        _hear.settle()

    def attach(self, memory: "StreamMemory") -> None:
        """Take the memory of the stream."""
        self._memory, self._block = memory, memory.block
        for each in self._networks.values():
            each.attach(memory)

    def describe(self) -> dict[str, dict[str, Any]]:
        """Return by content the model, where it runs, whether it is in use, its last error."""
        return {
            of: {"model": each.manifest.name} | each.worker.describe()
            for of, each in self._networks.items()
        }

    def fill(self, flags: int) -> None:
        """Do as :func:`~plc_kernels.stream.fills.fill_part`, and run the networks it asks for.

        Parameters
        ----------
        flags : int, what the step answered
        """
        block, model = self._block, self._memory.model
        deadline_s = self._clock() + self._wait_s
        if flags & BEGAN:
            self._abandon()
        if flags & (BEGAN | WANTS_BRIDGE):
            self._count_off(flags & WANTS_BRIDGE != 0)
        block[layout.PHASE] = 0
        answer = _fill_part.run(block, model, flags)
        if flags & BEGAN and block[layout.TAKEN] and block[fills.SERVED]:
            self._count_prepared(int(block[fills.ANSWERED]))
        while answer != fills.DONE:
            asked = self._by_net[int(block[layout.ASKED])]
            if answer == fills.SUBMIT:
                self._submit(asked)
            else:
                block[layout.GIVEN] = self._collect(asked, deadline_s)
            answer = _fill_part.run(block, model, flags)

    def _count_off(self, bridged: bool) -> None:
        """Count a burst or bridge whose network is switched off."""
        nets = [layout.BRIDGE_NET] if bridged else [layout.SPEECH_NET, layout.MUSIC_NET]
        if not self._block[layout.SPEECH]:
            nets = nets[1:]
        serves = next((self._by_net[net] for net in nets if net in self._by_net), None)
        if serves is not None and not serves.worker.switch.on:
            self._counters.network_off += 1
            serves.worker.switch.note_off()

    def _submit(self, asked: _Outside) -> None:
        self._abandon()
        self._asked = self._used = asked
        self._ticket = asked.worker.submit(asked.spectra, asked.lost)

    def _collect(self, asked: _Outside, deadline_s: float) -> bool:
        """Write a network's answer to FILLED; return whether it is there in time, and sound."""
        if self._asked is not asked:
            self._submit(asked)
        ticket, self._ticket, self._asked = self._ticket, NO_TICKET, None
        outcome = asked.worker.collect(ticket, deadline_s, asked.filled)
        self._set_costs()
        return outcome.usable

    def _abandon(self) -> None:
        asked, self._asked = self._asked, None
        if asked is not None and self._ticket != NO_TICKET:
            asked.worker.abandon()
        self._ticket = NO_TICKET

    def _set_costs(self) -> None:
        """Write to the step which networks are in use."""
        for each in self._networks.values():
            cost_ms = each.cost_ms if each.worker.switch.on else np.inf
            self._memory.numbers[layout.NETWORK_MS + each.place] = cost_ms

    def _count_prepared(self, answered: int) -> None:
        counters = self._counters
        counters.network_runs += answered != fills.NO
        counters.network_failed += answered == fills.NO_SOUND
        counters.network_done += answered not in (fills.NO, fills.NO_SOUND)

    def prepare(self) -> None:
        """Answer for a burst that was prepared; the thread that prepares calls this."""
        at = self._block[layout.SECOND] // self._block.itemsize
        second = self._block[at : at + layout.HEADER]
        asked = self._by_net.get(int(second[fills.SERVED])) if second[fills.PENDING] else None
        if asked is None or asked.ahead is None:
            return
        spectra, filled = (
            self._beside(second, asked.net + word, like)
            for word, like in ((SPECTRA, asked.spectra), (FILLED, asked.filled))
        )
        second[layout.GIVEN] = asked.worker.switch.on and asked.ahead.run(
            spectra, asked.lost, filled
        )
        _hear.run(self._block)

    def _beside(
        self, second: NDArray[np.int64], word: int, like: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return an array of the second set."""
        at = int(second[word] + self._block[layout.SECOND])
        return (
            self._block.view(np.uint8)[at : at + like.nbytes].view(np.float32).reshape(like.shape)
        )

    def took(self, late: bool) -> tuple[bool, int]:
        """Note whether a concealment was late; return whether prediction was the cause.

        It was not where a network was asked, which is noted then. Also returned: how often networks
        were switched on or off since the last call.
        """
        used, self._used = self._used, None
        if late and used is not None:
            used.worker.switch.note(Result.LATE)
            late = False
        return late, self._turns()

    def pass_time(self, ms: float) -> int:
        """Advance the stream's time by a packet; return the turns of switches."""
        received = not self._block[layout.CONCEALED_NOW]
        if received:
            self._abandon()
        for each in self._networks.values():
            each.worker.switch.pass_time(ms)
            if received:
                each.worker.tick()
        return self._turns()

    def _turns(self) -> int:
        """Return how often switches turned since the last call."""
        turns = sum(each.worker.switch.take_turns() for each in self._networks.values())
        if turns:
            self._set_costs()
        return turns

    def reset(self) -> None:
        """Forget the stream; the networks stay open."""
        self._abandon()
        self._used = None
        for each in self._networks.values():
            each.worker.switch.reset()
        self._set_costs()

    def close(self) -> None:
        """End the threads of the networks."""
        for each in self._networks.values():
            each.worker.close()


MOST_STREAMS = 64
"""Streams that share a run at most."""
# A GPU takes about as long for the one as for the next; a processor as many times longer.
_GPU_SIZES, _CPU_SIZES = (8, MOST_STREAMS), (2, 4, 8, 16, 32, MOST_STREAMS)
_OFF = -1
"""Ticket of a network that is switched off."""

Asking = tuple[NDArray[np.int64], NetworkCounters]
"""Block of a stream whose network's answer is due, and where that is counted."""


class _Batches:
    """A network opened for several sizes of batches; a run is by the least that has room."""

    def __init__(self, manifest: "Manifest", shape: NetworkShape, provider: str) -> None:
        first = open_outside(manifest, shape, provider)
        sizes = _GPU_SIZES if first.on_gpu else _CPU_SIZES
        shapes = (replace(shape, batch=shape.batch * streams) for streams in sizes)
        more = (open_outside(manifest, each, provider) for each in shapes)
        self._opened = (first, *more)
        self.on_gpu = first.on_gpu

    def run(
        self, spectra: NDArray[np.float32], lost: NDArray[np.float32], out: NDArray[np.float32]
    ) -> bool:
        """Write the answers; the caller checks whether they are sound."""
        used = next(each for each in self._opened if each.batch >= len(spectra))
        np.copyto(out, used.answers(spectra, lost))
        return True

    def keep_warm(self) -> None:
        self._opened[0].keep_warm()

    def cancel(self) -> None:
        for each in self._opened:
            each.cancel()


class _Pooled:
    """One network of many streams: its worker, and the rows of those that ask together."""

    def __init__(self, manifest: "Manifest", of: str, context: StreamContext) -> None:
        rate, self._net = context.sample_rate, NETS[of]
        shape = NetworkShape(manifest.bins(rate), manifest.frames(rate), context.channels)
        whole = replace(shape, batch=MOST_STREAMS * shape.batch)
        signature = network_signature(manifest, whole)
        self.worker = context.worker(
            partial(_Batches, manifest, shape, context.provider), signature
        )
        self._channels = context.channels
        self._spectra, self._lost, self._filled = (
            np.zeros(size, np.float32)
            for size in (*(size for _, size in signature.inputs), signature.output[1])
        )

    def ask(self, asking: Sequence[Asking]) -> int:
        """Submit the rows of some streams; return the ticket."""
        if not self.worker.switch.on:
            self.worker.switch.note_off()
            return _OFF
        for rows, (block, _) in zip(self._of_each(self._lost), asking, strict=False):
            np.copyto(rows, layout.TABLE.view(block, self._net + LOST))
        for rows, (block, _) in zip(self._of_each(self._spectra), asking, strict=False):
            spectra = layout.TABLE.view(block, self._net + SPECTRA)
            np.copyto(rows, spectra.reshape(rows.shape))
        taken = len(asking) * self._channels
        return self.worker.submit(self._spectra[:taken], self._lost[:taken])

    def answer(self, ticket: int, deadline_s: float, asking: Sequence[Asking]) -> None:
        """Give the streams the network's fills if they are there by the deadline."""
        filled = self._filled[: len(asking) * self._channels]
        outcome = self.worker.collect(ticket, deadline_s, filled)
        for rows, (block, counters) in zip(self._of_each(filled), asking, strict=True):
            own = outcome
            if own.usable and not np.isfinite(rows).all():
                own = Result.FAILED
            if own.usable:
                np.copyto(layout.TABLE.view(block, self._net + FILLED), rows)
            block[layout.GIVEN] = own.usable
            what = "refused" if own is Result.ABSENT else own.value
            counted = f"network_{'off' if ticket == _OFF else what}"
            setattr(counters, counted, getattr(counters, counted) + 1)
            counters.network_runs += ticket > NO_TICKET

    def _of_each(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return rows by stream."""
        return rows.reshape(-1, self._channels, *rows.shape[1:])


class PooledNetworks:
    """The networks of many streams of one format, run by ONNX Runtime.

    Parameters
    ----------
    manifests : dict
        By content of :data:`~plc_kernels.stream.gap.NETS`.
    context : StreamContext
        A stream, and the conditions that they run under.

    Raises
    ------
    ConfigError, ModelError, MissingExtraError
        As :func:`~plc.engine.runtime.session.open_session` raises them.
    """

    def __init__(self, manifests: "dict[str, Manifest]", context: StreamContext) -> None:
        self.networks = {NETS[of]: _Pooled(each, of, context) for of, each in manifests.items()}
        """By first of their words."""

    def answer(self, asking: Sequence[Asking], deadline_s: float) -> bool:
        """Run the networks ASKED; return whether any ran. Streams go on by :func:`fill_part`.

        Parameters
        ----------
        asking : sequence of Asking, of streams that WAIT
        deadline_s : float
            By :func:`time.perf_counter`. What is not there then has GIVEN 0.
        """
        by_net: dict[int, list[Asking]] = {}
        for each in asking:
            by_net.setdefault(int(each[0][layout.ASKED]), []).append(each)
        ran = False
        for first in range(0, max(map(len, by_net.values())), MOST_STREAMS):
            some = {net: each[first : first + MOST_STREAMS] for net, each in by_net.items()}
            tickets = [(net, self.networks[net].ask(each)) for net, each in some.items() if each]
            for net, ticket in tickets:
                self.networks[net].answer(ticket, deadline_s, some[net])
                ran |= ticket > NO_TICKET
        return ran

    def pass_time(self, ms: float) -> None:
        """Advance the streams' time; GPUs are kept warm meanwhile."""
        for each in self.networks.values():
            each.worker.switch.pass_time(ms)
            each.worker.tick()

    def close(self) -> None:
        """End the threads of the networks."""
        for each in self.networks.values():
            each.worker.close()
