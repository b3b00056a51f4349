"""The forward passes of streams' networks, computed outside their steps by ONNX Runtime.

The step makes the rows of a network and the samples of its answer, whoever computes what lies
between (:mod:`plc_kernels.stream.networks`)::

    fill ─▶ fill_part ─ SUBMIT ─▶ worker.submit ─▶ fill_part ─ DONE      the draft is played
         ─▶ fill_part ─ WAIT ──▶ worker.collect, by the deadline ─▶ fill_part ─ DONE

What is late or fails is replaced by the draft. ONNX Runtime's runs are not timed beforehand: a
network that is too slow for its stream misses its first deadlines and is switched off for a while.

Many streams ask only when an answer is due, and those that ask in a turn share a run::

    fill_part of each ─ WAIT ─▶ rows side by side ─▶ one run ─▶ fill_part of each ─ DONE

A context encoder (:mod:`plc.engine.stream.waiting_encoder`) runs here, too: it looks at what the
stream holds, and its answer takes the place of a bridge.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from plc.compiled import DirectCall
from plc.engine.runtime.onnx_network import (
    GapNetwork,
    NetworkShape,
    network_signature,
    open_network,
)
from plc.engine.runtime.worker import ANSWER_BY, NO_TICKET, NetworkCounters, Result, StreamContext
from plc_kernels.stream import extend_network, layout, networks
from plc_kernels.stream.gap import FILLED, LOST, NETS, SPECTRA
from plc_kernels.stream.step import BEGAN, WANTS_BRIDGE

if TYPE_CHECKING:
    from plc.engine.models.manifest import Manifest
    from plc.engine.stream.waiting_encoder import WaitingEncoder

MOST_STREAMS = 64
"""Streams that share a run at most."""
# A GPU takes about as long for the one as for the next; a processor as many times longer.
_GPU_SIZES, _CPU_SIZES = (8, MOST_STREAMS), (2, 4, 8, 16, 32, MOST_STREAMS)
_OFF = -1
"""Ticket of a network that is switched off."""
_fill_part = DirectCall(networks.fill_part)

Asking = tuple[NDArray[np.int64], NetworkCounters | None]
"""Block of a stream whose network's answer is due, and where that is counted; None: by the worker,
whose only stream it is."""


class Batches:
    """A network opened for several sizes of batches; a run is by the least that has room."""

    def __init__(self, manifest: "Manifest", shape: NetworkShape, *, providers: str) -> None:
        first = open_network(manifest, shape, providers=providers)
        sizes = _GPU_SIZES if first.on_gpu else _CPU_SIZES
        shapes = (replace(shape, batch=shape.batch * streams) for streams in sizes)
        more = (open_network(manifest, each, providers=providers) for each in shapes)
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
        """Run the least once for nothing."""
        self._opened[0].keep_warm()

    def cancel(self) -> None:
        """Cancel a run in another thread."""
        for each in self._opened:
            each.cancel()


class _Network:
    """One network of the step: its worker, and the rows of the streams that ask together."""

    def __init__(
        self, manifest: "Manifest", of: str, context: StreamContext, prepares: bool
    ) -> None:
        rate = context.sample_rate
        shape = NetworkShape(manifest.bins(rate), manifest.frames(rate), context.channels)
        opener, streams = (Batches, MOST_STREAMS) if context.many else (open_network, 1)
        open_it = partial(opener, manifest, shape, providers=context.provider)
        signature = network_signature(manifest, replace(shape, batch=streams * shape.batch))
        self.name = manifest.name
        self.net = NETS[of]
        self.place = tuple(NETS).index(of)
        self.worker = context.worker(open_it, signature)
        self.ahead: GapNetwork | None = None
        """For the thread that prepares."""
        if prepares:
            self.ahead = open_network(manifest, shape, providers=context.provider)
        self._channels = context.channels
        self._spectra, self._lost = (np.zeros(size, np.float32) for _, size in signature.inputs)
        self._filled = np.zeros(signature.output[1], np.float32)

    def submit(self, asking: Sequence[Asking]) -> int:
        """Submit the rows of some streams; return the ticket."""
        if not self.worker.switch.on:
            self.worker.switch.note_off()
            return _OFF
        for rows, word in ((self._spectra, SPECTRA), (self._lost, LOST)):
            for own, (block, _) in zip(self._of_each(rows), asking, strict=False):
                np.copyto(own, layout.TABLE.view(block, self.net + word).reshape(own.shape))
        taken = len(asking) * self._channels
        return self.worker.submit(self._spectra[:taken], self._lost[:taken])

    def collect(self, ticket: int, deadline_s: float, asking: Sequence[Asking]) -> None:
        """Give the streams the network's fills if they are there by the deadline."""
        filled = self._filled[: len(asking) * self._channels]
        outcome = self.worker.collect(ticket, deadline_s, filled)
        for rows, (block, counters) in zip(self._of_each(filled), asking, strict=True):
            own = outcome
            if own is Result.DONE and not np.isfinite(rows).all():
                own = Result.FAILED
            block[layout.GIVEN] = own is Result.DONE
            if own is Result.DONE:
                np.copyto(layout.TABLE.view(block, self.net + FILLED), rows)
            if counters is not None:
                what = "refused" if own is Result.ABSENT else own.value
                counted = f"network_{'off' if ticket == _OFF else what}"
                setattr(counters, counted, getattr(counters, counted) + 1)
                counters.network_runs += ticket > NO_TICKET

    def _of_each(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        return rows.reshape(-1, self._channels, *rows.shape[1:])

    def answer_ahead(self, block: NDArray[np.int64], second: NDArray[np.int64]) -> bool:
        """Write the answer for a stream's second set, in the thread that prepares."""
        if self.ahead is None or not self.worker.switch.on:
            return False
        lost = layout.TABLE.view(block, self.net + LOST)
        spectra, filled = (layout.TABLE.view(second, self.net + word) for word in (SPECTRA, FILLED))
        rows = spectra.reshape(self._channels, -1, *spectra.shape[1:])
        return self.ahead.run(rows, lost, filled)


class OutsideNetworks:
    """The networks of a stream, or of many of one format, run by ONNX Runtime.

    One stream has them fill its parts by :meth:`fill`, many streams answer by :meth:`answer`.

    Parameters
    ----------
    context : StreamContext
        A stream, and the conditions that they run under.
    manifests : mapping, by content of :data:`~plc_kernels.stream.gap.NETS`
    prepares : bool
        Whether bursts are prepared, for which another thread runs networks of its own.
    encoder : WaitingEncoder or None, for gaps with both sides known

    Raises
    ------
    ConfigError, ModelError, MissingExtraError
        As :func:`~plc.engine.runtime.session.open_session` raises them.
    """

    def __init__(
        self,
        context: StreamContext,
        manifests: "Mapping[str, Manifest]",
        prepares: bool = False,
        encoder: "WaitingEncoder | None" = None,
    ) -> None:
        self.networks = {
            of: _Network(each, of, context, prepares) for of, each in manifests.items()
        }
        """By content."""
        self.encoder = encoder
        self._by_net = {each.net: each for each in self.networks.values()}
        self._clock, self._limit_ms = context.clock, context.limit_ms
        self._counters = context.counters
        self._own: list[Asking] = []
        """The one stream, if it is one."""
        self._model = 0
        self._numbers = self._costs_ms = np.zeros(0)
        self._asked: _Network | None = None
        """Whose answer is still to be taken."""
        self._ticket = NO_TICKET
        self._used: _Network | None = None
        """Whose rows were made since the last packet."""
        _fill_part.settle()

    @property
    def _all(self) -> "list[_Network | WaitingEncoder]":
        return [*self.networks.values(), *([] if self.encoder is None else [self.encoder])]

    def describe(self) -> dict[str, dict[str, Any]]:
        """Return by content the model, where it runs, whether it is in use, its last error."""
        found = {
            of: {"model": each.name} | each.worker.describe() for of, each in self.networks.items()
        }
        return found if self.encoder is None else found | self.encoder.describe()

    def pass_time(self, ms: float) -> int:
        """Advance the time of streams by a packet; return the turns of switches."""
        received = not (self._own and self._own[0][0][layout.CONCEALED_NOW])
        if received:
            self._abandon()
        for each in self._all:
            each.worker.switch.pass_time(ms)
        if self.encoder is not None:
            self.encoder.follow()
        if received:  # GPUs are kept warm meanwhile
            for each in self._all:
                each.worker.tick()
        return self._turns()

    def reset(self) -> None:
        """Forget the stream; the networks stay open."""
        self._abandon()
        self._used = None
        for each in self._all:
            each.worker.switch.reset()
        if self.encoder is not None:
            self.encoder.forget()
        self._set_costs()

    def close(self) -> None:
        """End the threads of the networks."""
        for each in self._all:
            each.worker.close()

    # Of one stream.

    def attach(self, block: NDArray[np.int64], model: int) -> None:
        """Take the block of the one stream, and the address of its networks' blocks."""
        self._own, self._model = [(block, None)], model
        self._numbers = block[layout.REALS : layout.HEADER].view(np.float64)
        self._costs_ms = self._numbers[layout.NETWORK_MS :][: len(NETS)].copy()
        if self.encoder is not None:
            self.encoder.attach(block)

    def fill(self, flags: int) -> None:
        """Do as :func:`~plc_kernels.stream.networks.fill_part`, and run the networks it asks for.

        ``flags`` are what the step answered.
        """
        block, model = self._own[0][0], self._model
        limit_ms = min(self._limit_ms, float(self._numbers[layout.BURST_MS]))
        deadline_s = self._clock() + ANSWER_BY * limit_ms / 1000.0
        if flags & BEGAN:
            self._abandon()
        if flags & (BEGAN | WANTS_BRIDGE):
            self._count_off(block, flags & WANTS_BRIDGE != 0)
        block[layout.PHASE] = 0
        answer = _fill_part.run(block, model, flags)
        if flags & BEGAN and block[layout.TAKEN] and block[extend_network.SERVED]:
            self._count_prepared(int(block[extend_network.ANSWERED]))
        while answer != networks.DONE:
            asked = self._by_net[int(block[layout.ASKED])]
            if answer == networks.SUBMIT:
                self._submit(asked)
            else:
                self._collect(asked, deadline_s)
            answer = _fill_part.run(block, model, flags)
        if self.encoder is not None:
            self.encoder.fill(flags, deadline_s)

    def _count_off(self, block: NDArray[np.int64], bridged: bool) -> None:
        nets = [layout.BRIDGE_NET] if bridged else [layout.SPEECH_NET, layout.MUSIC_NET]
        if not block[layout.SPEECH]:
            nets = nets[1:]
        serves = next((self._by_net[net] for net in nets if net in self._by_net), None)
        if serves is not None and not serves.worker.switch.on:
            self._counters.network_off += 1
            serves.worker.switch.note_off()

    def _submit(self, asked: _Network) -> None:
        self._abandon()
        self._asked = self._used = asked
        self._ticket = asked.submit(self._own)

    def _collect(self, asked: _Network, deadline_s: float) -> None:
        if self._asked is not asked:
            self._submit(asked)
        ticket, self._ticket, self._asked = self._ticket, NO_TICKET, None
        asked.collect(ticket, deadline_s, self._own)
        self._set_costs()

    def _abandon(self) -> None:
        asked, self._asked = self._asked, None
        if asked is not None and self._ticket != NO_TICKET:
            asked.worker.abandon()
        self._ticket = NO_TICKET

    def _set_costs(self) -> None:
        for each in self.networks.values() if self._own else ():
            cost_ms = self._costs_ms[each.place] if each.worker.switch.on else np.inf
            self._numbers[layout.NETWORK_MS + each.place] = cost_ms

    def _count_prepared(self, answered: int) -> None:
        counters = self._counters
        counters.network_runs += answered != extend_network.NO
        counters.network_failed += answered == extend_network.NO_SOUND
        counters.network_done += answered not in (extend_network.NO, extend_network.NO_SOUND)

    def prepare(self) -> None:
        """Answer for a burst that was prepared; the thread that prepares calls this."""
        block = self._own[0][0]
        second = block[block[layout.SECOND] // block.itemsize :]
        served = int(second[extend_network.SERVED])
        asked = self._by_net.get(served) if second[extend_network.PENDING] else None
        if asked is not None and asked.ahead is not None:
            second[layout.GIVEN] = asked.answer_ahead(block, second)
            _fill_part.run(block, 0, networks.HEARS)

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

    def _turns(self) -> int:
        """Return how often switches turned since the last call."""
        turns = sum(each.worker.switch.take_turns() for each in self._all)
        if turns:
            self._set_costs()
        return turns

    # Of many streams.

    def answer(self, asking: Sequence[Asking], deadline_s: float) -> bool:
        """Run the networks ASKED; return whether any ran. Streams go on by :func:`fill_part`.

        ``asking`` are of streams that WAIT. What is not there at ``deadline_s``, by the context's
        clock, has GIVEN 0.
        """
        by_net: dict[int, list[Asking]] = {}
        for each in asking:
            by_net.setdefault(int(each[0][layout.ASKED]), []).append(each)
        ran = False
        for first in range(0, max(map(len, by_net.values())), MOST_STREAMS):
            some = {net: each[first : first + MOST_STREAMS] for net, each in by_net.items()}
            tickets = [(net, self._by_net[net].submit(each)) for net, each in some.items() if each]
            for net, ticket in tickets:
                self._by_net[net].collect(ticket, deadline_s, some[net])
                ran |= ticket > NO_TICKET
        return ran
