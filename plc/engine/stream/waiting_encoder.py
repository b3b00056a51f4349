"""The context encoder in a stream that waits: gaps filled as in files, where there is time.

The network looks at 128 ms on either side of a window of 64 ms, so a stream has to wait for 192 ms.
What the stream holds then is the gap and both its sides, long before the gap is due. It is asked
as soon as its context is there, and has until the gap's turn::

    heard |~~~~ history ~~~~|~ held ~|  gap  |~~~~~~~~~~ held ~~~~~~~~~|  newest packet
          |<------------ 192 ms ---->|<---------- 192 ms ------------->|
             in the worker: STFT ─▶ network ─▶ PGHI ─▶ n x fast Griffin-Lim ─▶ inverse STFT
    due      linear prediction bridges the gap; the fill replaces the bridge if it is there

The fill is that of :class:`~plc.engine.networks.encoder.ContextEncoder`. Everything is there
for PGHI: phases known on both sides. The network is asked about three windows around the gap, as in
files, or about one, and the iterations *n* are those that fit 0.6 of the time until the gap is due,
100 at most, by costs measured when the stream is opened. Without a time limit all are done, as in
files. The gap and further losses in the network's context are continued into from both sides first;
of the gap at a rate above 16 kHz, that is what remains of it above 8 kHz.

A fill that is late is dropped and counted, and the bridge of linear prediction is played. So it is
for gaps that are not one whole, longer than 64 ms or the longest bridge of the stream, or so
near the end of what is known that the context is not there.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plc.engine.models.manifest import Manifest
from plc.engine.networks.encoder import (
    EXTENSIONS,
    GAP_SAMPLES,
    HOP_SAMPLES,
    ITERATIONS,
    AnyRateEncoder,
    ContextEncoder,
    encoder_signature,
    spans_at,
)
from plc.engine.predict.ladder import Rung
from plc.engine.predict.sides import continued
from plc.engine.runtime.providers import Signature
from plc.engine.runtime.session import open_session
from plc.engine.runtime.worker import NO_TICKET, Result, StreamContext
from plc.errors import ConfigError
from plc_kernels.signal.history import newest
from plc_kernels.stream import layout
from plc_kernels.stream.gap import NETS
from plc_kernels.stream.queue import LOST, WHOLE
from plc_kernels.stream.step import BEGAN, WANTS_BRIDGE, WANTS_FILL

PLACE = tuple(NETS).index("speech, bridged")
"""Of its name among those of a stream's networks."""
WINDOWS = (EXTENSIONS, ("centred",))
"""Where the network's window lies around a gap: the dearer way first."""
# Of longer gaps some windows are the same, and the network is asked about fewer than three.
_DEAREST_SHARE = 1.0 - 2.0 * HOP_SAMPLES / GAP_SAMPLES
# By which a fill is timed.
_RUNS = 3
# Of the time until a gap is due, what a fill may take.
_ANSWER_SHARE = 0.6

# What continues a side into a loss, of which the network sees others than its own from a distance.
_CONTEXT_RUNG = Rung(10.0, 50.0)


@dataclass(frozen=True, slots=True)
class Effort:
    """Windows around a gap and iterations that a fill may take."""

    extensions: tuple[str, ...] = EXTENSIONS
    iterations: int = ITERATIONS


@dataclass(frozen=True, slots=True)
class FillCost:
    """Time of a fill in ms, the least measured."""

    fills_ms: tuple[float, ...]
    """Without iterations, for each of :data:`WINDOWS`."""
    iteration_ms: float

    def effort_in(self, limit_ms: float) -> Effort | None:
        """Return the most that fits a time; None if nothing does."""
        for extensions, fill_ms in zip(WINDOWS, self.fills_ms, strict=True):
            if fill_ms <= limit_ms:
                most = (limit_ms - fill_ms) / max(self.iteration_ms, 1e-6)
                return Effort(extensions, int(min(most, ITERATIONS)))
        return None


def measure_fill(fill: Callable[[Effort], object], clock: Callable[[], float]) -> FillCost:
    """Return the cost of a fill."""

    def least_ms(extensions: tuple[str, ...], iterations: int) -> float:
        times_ms = []
        for _ in range(_RUNS):
            began_s = clock()
            fill(Effort(extensions, iterations))
            times_ms.append(1e3 * (clock() - began_s))
        return min(times_ms)

    fills_ms = tuple(least_ms(extensions, 0) for extensions in WINDOWS)
    all_ms = least_ms(WINDOWS[-1], ITERATIONS)
    return FillCost(fills_ms, max(all_ms - fills_ms[-1], 0.0) / ITERATIONS)


@dataclass(slots=True)
class Grant:
    """Messages between a filler and the thread that fills for it."""

    effort: Effort = field(default_factory=Effort)
    """Of the next fill."""
    cost: FillCost | None = None
    """Of fills in this stream; None without a time limit."""


class StreamEncoder:
    """A context encoder for workers: samples around a gap in, the gap's samples out.

    Parameters
    ----------
    manifest : Manifest, of kind ``paper``
    context : StreamContext
        The stream; where it has a time limit, trial fills are timed.
    horizon : int, samples of the longest gap
    grant : Grant
        Read at the beginning of each run; the cost is written.

    Raises
    ------
    ConfigError, MissingExtraError, ModelError
        As :func:`plc.engine.runtime.session.open_session` raises them.
    """

    def __init__(
        self, manifest: Manifest, context: StreamContext, horizon: int, grant: Grant
    ) -> None:
        self._grant = grant
        self._sample_rate = context.sample_rate
        # For two windows of three rows the third is left as it is.
        self._sessions = [
            open_session(
                manifest, partial(encoder_signature, len(extensions)), providers=context.provider
            )
            for extensions in WINDOWS
        ]
        self.on_gpu = self._sessions[0].on_gpu
        self._encoder = AnyRateEncoder(ContextEncoder(self._answers), context.sample_rate)
        trial = (
            *rehearsal(context.channels, horizon, context.sample_rate),
            np.zeros((context.channels, horizon), np.float32),
        )
        self.run(*trial)  # what is first in a process is slow
        if context.limit_ms != math.inf:
            grant.cost = measure_fill(partial(self._fill, *trial), context.clock)

    def _answers(self, contexts: NDArray[np.float32]) -> NDArray[np.float32]:
        windows = contexts.shape[0]
        session = self._sessions[windows == 1]
        np.copyto(session.inputs[0][:windows], contexts)
        session.run()
        answers: NDArray[np.float32] = session.output[:windows]
        return answers

    def run(
        self, spectra: NDArray[np.float32], lost: NDArray[np.float32], out: NDArray[np.float32]
    ) -> bool:
        """Write the samples of the gap; return True, or raise ModelError.

        ``spectra``, float32, shape (channels, 2 * side), are samples in place of spectra: the gap
        begins at the side of :func:`spans_at`. ``lost``, float32, shape (1, 2 * side), is 1 where
        nothing is known. ``out`` is float32, shape (channels, horizon), written from its beginning.
        """
        self._fill(spectra, lost, out, self._grant.effort)
        return True

    def _fill(
        self,
        samples: NDArray[np.float32],
        lost: NDArray[np.float32],
        out: NDArray[np.float32],
        effort: Effort,
    ) -> None:
        missing = lost[0] > 0.0
        start = self._encoder.side
        gap = _run_length(missing, start)
        for row, made in zip(samples, out, strict=True):
            line = _patched(row, missing, start, self._sample_rate)
            made[:gap] = self._encoder.fill(
                line, (start, start + gap), effort.extensions, effort.iterations
            )

    def keep_warm(self) -> None:
        """Run once for nothing."""
        for session in self._sessions:
            session.run()

    def cancel(self) -> None:
        """Cancel a run of the network in another thread."""
        for session in self._sessions:
            session.cancel()


class WaitingEncoder:
    """A context encoder for a stream's gaps with both sides known.

    The step bridges each gap by linear prediction; what is there of the encoder's takes the
    bridge's place. :class:`plc.engine.stream.outside.OutsideNetworks` calls it in each packet.

    Parameters
    ----------
    context : StreamContext
        The stream, and the conditions that the network runs under.
    lookahead : int, packets that the stream waits for
    manifest : Manifest, of kind ``context_encoder``

    Attributes
    ----------
    worker : NetworkWorker, runs the network
    side : int
        Samples that it looks at before a gap, and from its beginning on.
    horizon : int, samples of the longest gap for it

    Raises
    ------
    ConfigError
        If the stream has less than 16 kHz, packets of more than 64 ms or too little lookahead.
    ModelError, MissingExtraError
        If the model is not sound, or ONNX Runtime is not installed.
    """

    def __init__(self, context: StreamContext, lookahead: int, manifest: Manifest) -> None:
        sample_rate, packet_samples = context.sample_rate, context.packet_samples
        _check_stream(manifest, sample_rate, packet_samples, lookahead)
        self._name = manifest.name
        self._packet = packet_samples
        self._packet_ms = 1000.0 * packet_samples / sample_rate
        longest, self._context, self.side = spans_at(sample_rate)
        self.horizon = horizon = min(context.reach, longest)
        self._samples = np.zeros((context.channels, 2 * self.side), np.float32)
        self._lost = np.zeros((1, 2 * self.side), np.float32)
        self._held = np.zeros((context.channels, lookahead * packet_samples), np.float32)
        self._missing = np.zeros(lookahead * packet_samples, np.bool_)
        self._made = np.zeros((context.channels, horizon), np.float32)
        self._slots = lookahead + 1
        self._grant = Grant()
        signature = Signature(
            (("samples", self._samples.shape), ("lost", self._lost.shape)),
            ("gap", self._made.shape),
        )
        open_it = partial(StreamEncoder, manifest, context, horizon, self._grant)
        self.worker = context.worker(open_it, signature)
        self._counters = context.counters
        self._why = self._why_too_slow()
        if self._why:
            self.worker.close()
        self._by_network = False
        self._ticket = NO_TICKET
        self._asked = (-1, 0)
        """Where the gap of the last submission begins, and its samples."""

    def attach(self, block: NDArray[np.int64]) -> None:
        """Take the block of the stream."""
        self._block = block
        self._states, self._queue, self._parts_lost, self._ring, self._bridge = (
            layout.TABLE.view(block, word)
            for word in (layout.ARRIVED, layout.QUEUE, layout.MASK, layout.RING, layout.BRIDGE_ROWS)
        )

    def _why_too_slow(self) -> str:
        """Return why the network cannot serve this lookahead; empty if it can."""
        cost = self._grant.cost
        spare = (self._slots - 1) * self._packet - self.side
        most_ms = self._granted_ms(spare // self._packet + 1)
        if cost is None or cost.effort_in(most_ms) is not None:
            return ""
        least_ms = min(cost.fills_ms)
        needed = math.ceil(least_ms / self._granted_ms(1))
        packets = math.ceil(self.side / self._packet) + needed - 1
        return (
            f"a fill takes {least_ms:.1f} ms of the {most_ms:.1f} ms there are; "
            f"lookahead={packets} ({packets * self._packet_ms:g} ms) would do"
        )

    def _granted_ms(self, turns: int) -> float:
        """Return the time for a fill that is due after some packets."""
        return _ANSWER_SHARE * turns * self._packet_ms

    def describe(self) -> dict[str, dict[str, Any]]:
        """Return by content the model, its costs, where it runs and whether it is in use."""
        found: dict[str, str | float] = {"model": self._name}
        cost = self._grant.cost
        if cost is not None:
            found["cost_ms"] = round(cost.fills_ms[0], 4)
            found["least_cost_ms"] = round(cost.fills_ms[-1], 4)
            found["iteration_ms"] = round(cost.iteration_ms, 4)
        found |= {"mode": "left out", "why": self._why} if self._why else self.worker.describe()
        return {f"{content}, bridged": found for content in ("music", "speech")}

    def forget(self) -> None:
        """Forget the stream."""
        self._abandon()
        self._by_network = False
        self._asked = (-1, 0)

    def fill(self, flags: int, deadline_s: float) -> None:
        """Replace a bridge that the step has filled by the network's, if that is there.

        ``flags`` are what the step answered; by ``deadline_s`` the answer is to be there.
        """
        block = self._block
        if flags & (BEGAN | WANTS_FILL | WANTS_BRIDGE):
            self._by_network = False
        if flags & WANTS_BRIDGE:
            self._replace(int(block[layout.BRIDGE]), deadline_s)
        if self._by_network:
            block[layout.RUNG] = block[layout.NETWORK_RUNG] + PLACE

    def _replace(self, gap: int, deadline_s: float) -> None:
        if self._ticket == NO_TICKET or self._asked != (self._block[layout.PLAYED_AT], gap):
            return
        outcome = self.worker.collect(self._ticket, deadline_s, self._made)
        self._ticket = NO_TICKET
        if outcome is Result.DONE:
            self._bridge[:, :gap] = self._made[:, :gap]
            self._block[layout.LANDED] = True  # both ends meet what is known
            self._by_network = True

    def follow(self) -> None:
        """Follow the stream by a packet, and ask for the next gap."""
        block = self._block
        received = not block[layout.IN_BURST] or block[layout.RECOVERED] > 0
        position = int(block[layout.POSITION] + block[layout.PACKET])
        if self._ticket != NO_TICKET and position > self._asked[0]:
            self._abandon()  # it was not bridged as a whole
        if not self._why and self._asked[0] < position and self._look():
            self._ask(position, received)

    def _abandon(self) -> None:
        self.worker.abandon()
        self._ticket = NO_TICKET

    def _look(self) -> bool:
        """Copy the stream's samples; return whether a gap may have its context."""
        n, slots = self._packet, self._slots
        held_back = (int(self._block[layout.SLOT]) + 1 + np.arange(slots - 1)) % len(self._states)
        gaps = np.flatnonzero(self._states[held_back] != WHOLE)
        if gaps.size == 0 or (slots - 1 - int(gaps[0])) * n < self.side:
            return False
        for k, slot in enumerate(held_back):
            held = slice(k * n, (k + 1) * n)
            self._held[:, held] = self._queue[slot]
            state = self._states[slot]
            if state in (LOST, WHOLE):
                self._missing[held] = state == LOST
            else:
                np.not_equal(self._parts_lost[slot], 0, out=self._missing[held])
        return bool(self._missing.any())

    def _ask(self, position: int, received: bool) -> None:
        """Submit the next gap once its context is there."""
        begin = int(self._missing.argmax())
        if begin == 0 and not received:  # the rest of one
            return
        gap = _run_length(self._missing, begin)
        known = self._missing.size - begin
        past = min(begin, self.side)
        before = min(int(self._block[layout.HISTORY_FILLED]) + begin, self.side)
        if known < self.side:
            return
        self._asked = (position + begin, gap)
        if gap > self.horizon or before < self._context:
            return
        if not self.worker.switch.on:
            self._counters.network_off += 1
            self.worker.switch.note_off()
            return
        if self._grant.cost is not None:
            granted_ms = self._granted_ms(begin // self._packet + 1)
            self._grant.effort = self._grant.cost.effort_in(granted_ms) or Effort(WINDOWS[-1], 0)
        held = slice(begin, begin + self.side)
        at = self._block[layout.HISTORY_AT]
        for c, row in enumerate(self._samples):
            newest(self._ring[c], at, row[: self.side - past])
            row[self.side - past : self.side] = self._held[c, begin - past : begin]
            row[self.side :] = self._held[c, held]
        self._lost[0, self.side :] = self._missing[held]
        self._samples[:, self.side :][:, self._missing[held]] = 0.0
        self._ticket = self.worker.submit(self._samples, self._lost)


def rehearsal(
    channels: int, horizon: int, sample_rate: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return samples and losses of a trial fill of three windows."""
    longest, _, side = spans_at(sample_rate)
    gap = min(horizon, int(_DEAREST_SHARE * longest))
    samples = np.random.default_rng(0).standard_normal((channels, 2 * side))
    lost = np.zeros((1, 2 * side), np.float32)
    lost[0, side : side + gap] = 1.0
    return samples.astype(np.float32), lost


def _check_stream(
    manifest: Manifest, sample_rate: int, packet_samples: int, lookahead: int
) -> None:
    longest, _, side = spans_at(sample_rate)
    per_ms = sample_rate / 1000.0
    if packet_samples > longest:
        raise ConfigError(
            f"model {manifest.name} fills gaps of up to {longest / per_ms:g} ms, the stream "
            f"has packets of {packet_samples / per_ms:g} ms; give shorter ones"
        )
    least = math.ceil(side / packet_samples)
    if lookahead < least:
        raise ConfigError(
            f"model {manifest.name} looks at {side / per_ms:g} ms from a gap's beginning "
            f"on, and lookahead is {lookahead} packets ({lookahead * packet_samples / per_ms:g} "
            f"ms); give at least {least} ({least * packet_samples / per_ms:g} ms)"
        )


def _run_length(missing: NDArray[np.bool_], begin: int) -> int:
    there = ~missing[begin:]
    return int(there.argmax()) if there.any() else there.size


def _patched(
    row: NDArray[np.float32], lost: NDArray[np.bool_], first: int, sample_rate: int
) -> NDArray[np.float32]:
    """Return a copy with predicted samples for the losses from ``first`` on."""
    line = row.copy()
    begin = first
    while lost[begin:].any():
        start = begin + int(lost[begin:].argmax())
        gap = _run_length(lost, start)
        stop = start + gap
        further = lost[stop:]
        end = stop + (int(further.argmax()) if further.any() else further.size)
        ramp = (np.arange(gap, dtype=np.float32) + 0.5) / gap
        forward = continued(line[begin:start], gap, sample_rate, _CONTEXT_RUNG)
        backward = continued(line[stop:end][::-1], gap, sample_rate, _CONTEXT_RUNG)[::-1]
        line[start:stop] = (1.0 - ramp) * forward + ramp * backward
        begin = stop
    return line
