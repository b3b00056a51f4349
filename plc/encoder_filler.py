"""The top rung of the ladder: a network that improves on linear prediction, within a deadline.

At the start of a burst linear prediction drafts the whole horizon, the network is run once on that
draft and its past, and the burst's packets play what came out of it::

    begin    draft ──▶ spectra ──▶ submit ······▶ collect by the deadline ──▶ fill
                                     (a thread of its own)     │ late, failed, off
                                                               ▼
                                                             draft
    extend   draft ──╮ 1 ms           ╭── last 5 ms of the horizon
             fill    ╰────────────────╯────── linear prediction goes on

**When.** A model for speech is collected at once: it makes every packet better, the first one too,
and its drafts are cheap. One for music is collected when the second packet of the burst is due:
until then a long prediction is as good as anything, and gets the first packet's time for itself,
while the network has that packet's whole duration for its answer.

The draft is always finished first, so there is always something to play, and there is no step
where the one takes over from the other. Which model serves a burst follows from the content, as the
ladder's rungs do.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plc.baselines import PitchFiller
from plc.encoder import Encoder, encoder_signature, open_encoder
from plc.filler import ArFiller
from plc.governor import Governor
from plc.history import History
from plc.hybrid import EDGE_MS, GapSpectra
from plc.line import NO_TICKET, EncoderCounters, EncoderLine, InlineEncoder, Outcome
from plc.manifest import Manifest
from plc.worker import EncoderWorker
from plc_kernels.fade import crossfade, crossfade_ramp

DRAFTS = (("ar",), ("pitch", "ar"))
"""What a causal model may be given, the last being what it improves on."""

# At the end of the horizon the fill returns to the draft within this time.
_LEAVE_MS = 5.0
# Waiting for a model to load and warm up, at construction.
_OPEN_S = 120.0
CALIBRATION_RUNS = 5
# A network that takes a larger share of the time limit is left out.
_MOST_SHARE = 0.5


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


class EncoderFiller:
    """Linear prediction, improved by a network where there is one for the content.

    Parameters
    ----------
    sample_rate, channels, packet_samples, limit_ms, reach
        As for :class:`~plc.filler.ArFiller`.
    models : mapping
        Manifests of causal models by content: ``"music"`` for what holds its tones, ``"speech"``
        for what glides and stops. Either may be missing; :attr:`content` says what it is.
    clock : callable
        Returns seconds.
    provider : str
        What the networks run on: ``"auto"``, ``"tensorrt"``, ``"cuda"`` or ``"cpu"``.

    Raises
    ------
    ConfigError, ModelError, MissingExtraError
        If a model is not for this stream, not sound, or ONNX Runtime is not installed.
    """

    crossfades = True
    fades = True
    bridges = True

    def __init__(
        self,
        sample_rate: int,
        channels: int,
        packet_samples: int,
        models: Mapping[str, Manifest],
        limit_ms: float = float("inf"),
        reach: int = 0,
        clock: Callable[[], float] = time.perf_counter,
        provider: str = "auto",
    ) -> None:
        stream = (sample_rate, channels, packet_samples)
        self.counters = EncoderCounters()
        self._clock = clock
        self._limit_s = limit_ms / 1000.0
        self._voices = {
            content: _open_voice(
                manifest, content, stream, limit_ms, self.counters, clock, provider
            )
            for content, manifest in models.items()
        }
        for content, voice in list(self._voices.items()):
            if voice.prompt and voice.cost_ms > _MOST_SHARE * limit_ms:
                voice.line.close()
                del self._voices[content]  # the drafts would pay for it
        voices = self._voices.values()
        longest = max((v.gap.horizon for v in voices), default=0)
        cost_ms = max((v.cost_ms for v in voices if v.prompt), default=0.0)
        beyond = max((v.gap.samples - v.gap.gap_start for v in voices), default=0)
        self.ar = ArFiller(
            sample_rate, channels, max(packet_samples, beyond), limit_ms - cost_ms, reach
        )
        pasts = [v.gap.gap_start for v in self._voices.values()]
        pasts += [v.pitch.past_samples for v in self._voices.values() if v.pitch]
        self.past_samples = max([self.ar.past_samples, *pasts])
        self._fill = np.zeros((channels, longest), np.float32)
        self._made = np.zeros((channels, longest), np.float32)
        self._leave = crossfade_ramp(round(sample_rate * _LEAVE_MS / 1000.0))
        self._enter = crossfade_ramp(round(sample_rate * EDGE_MS / 1000.0))
        self.limit_ms = float("inf")
        """As :attr:`ArFiller.limit_ms`; below the stream's own, no network is asked."""
        self.content = "music"
        """Of what the next burst interrupts: which network is asked."""
        self._voice: Voice | None = None
        self._ticket = NO_TICKET
        self._made_by_network = False
        self._position = 0

    @property
    def names(self) -> tuple[str, ...]:
        """The models, then the rungs of linear prediction."""
        return (*(voice.name for voice in self._voices.values()), *self.ar.names)

    @property
    def name(self) -> str:
        """What made the samples last written."""
        voice = self._voice
        if voice is not None and self._made_by_network and self._position <= voice.gap.horizon:
            return voice.name
        return self.ar.name

    @property
    def voices(self) -> tuple[Voice, ...]:
        """The models that are open."""
        return tuple(self._voices.values())

    def describe(self) -> dict[str, dict[str, str | float]]:
        """Return the models by content: name, mode, and what a burst of each costs."""
        return {
            content: {
                "model": voice.manifest.name,
                "mode": "inline" if isinstance(voice.line, InlineEncoder) else "worker",
                "cost_ms": round(voice.cost_ms, 4),
            }
            for content, voice in self._voices.items()
        }

    def reset(self) -> None:
        """Forget the stream; the networks stay open."""
        self.ar.reset()
        self._voice = None
        self._ticket = NO_TICKET
        for voice in self._voices.values():
            voice.governor.reset()

    def close(self) -> None:
        """End the threads of the networks."""
        for voice in self._voices.values():
            voice.line.close()

    def tick(self) -> None:
        """Say that a packet passed without a gap."""
        for voice in self._voices.values():
            voice.line.tick()

    def begin(self, history: History, unsteady: bool) -> None:
        """Draft the horizon, and have the network improve on it."""
        deadline_s = self._clock() + self._limit_s
        self.ar.limit_ms = self.limit_ms
        self.ar.begin(history, unsteady)
        self._position = 0
        self._made_by_network = False
        self._ticket = NO_TICKET
        voice = self._voices.get(self.content)
        hurried = self.limit_ms < 1000.0 * self._limit_s
        if voice is not None and (hurried or history.filled < voice.gap.gap_start):
            voice = None
        self._voice = voice
        if voice is None:
            return
        self._draft(voice, history)
        gap = voice.gap
        self._fill[:, : gap.horizon] = gap.lines[:, -1, gap.gap_start :][:, : gap.horizon]
        self._submit(voice)
        if voice.prompt and self._ticket != NO_TICKET:
            self._collect(voice, deadline_s)

    def catch_up(self) -> None:
        """Take the network's answer, where the burst goes on and has none yet."""
        if self._voice is not None and self._ticket != NO_TICKET:
            self._collect(self._voice, self._clock() + self._limit_s)

    def _draft(self, voice: Voice, history: History) -> None:
        """Write past and drafts into the lines of the gap."""
        start = voice.gap.gap_start
        lines = voice.gap.lines
        for c in range(lines.shape[0]):
            history.newest(c, lines[c, -1, :start])
        self.ar.extend(lines[:, -1, start:])
        if voice.pitch is not None:
            lines[:, 0, :start] = lines[:, -1, :start]
            voice.pitch.begin(history, unsteady=False)
            voice.pitch.extend(lines[:, 0, start:])

    def _submit(self, voice: Voice) -> None:
        if voice.governor.level is None:
            self.counters.encoder_off += 1
            voice.governor.note_off()
            return
        voice.gap.analyse()
        self._ticket = voice.line.submit(voice.gap.spectra, voice.gap.lost)

    def _collect(self, voice: Voice, deadline_s: float) -> None:
        """Go over from the draft to what the network made, if it is there in time."""
        outcome = voice.line.collect(self._ticket, deadline_s, voice.gap.filled)
        self._ticket = NO_TICKET
        voice.governor.note(outcome)
        if not outcome.usable:
            return
        gap = voice.gap
        made = self._made[:, : gap.horizon]
        gap.synthesise(made)
        leave = min(self._leave.size, gap.horizon)
        end = gap.gap_start + gap.horizon
        now = self._position
        enter = min(self._enter.size, gap.horizon - now)
        for c in range(made.shape[0]):
            draft = gap.lines[c, -1, end - leave : end]
            crossfade(draft, self._leave[-leave:], made[c, gap.horizon - leave :])
            if now:
                crossfade(
                    made[c, now : now + enter], self._enter[:enter], self._fill[c, now:][:enter]
                )
                self._fill[c, now + enter : gap.horizon] = made[c, now + enter :]
            else:  # it begins as the draft already
                self._fill[c, : gap.horizon] = made[c]
        self._made_by_network = True

    def extend(self, out: NDArray[np.float32]) -> None:
        """Write the next samples of the fill; then of the draft, then of linear prediction."""
        if self._voice is None:
            self.ar.extend(out)
            return
        gap = self._voice.gap
        done = 0
        parts = (self._fill[:, : gap.horizon], gap.lines[:, -1, gap.gap_start :])
        for part in parts:
            take = min(out.shape[1] - done, part.shape[1] - self._position)
            if take > 0:
                out[:, done : done + take] = part[:, self._position : self._position + take]
                self._position += take
                done += take
        if done < out.shape[1]:
            self.ar.extend(out[:, done:])
            self._position += out.shape[1] - done

    def bridge(
        self, history: History, after: NDArray[np.float32], out: NDArray[np.float32]
    ) -> bool:
        """Blend what the network continues with what leads into ``after``."""
        landed = self.ar.bridge_from(self.extend, history, after, out)
        if landed:
            self._voice = None  # linear prediction has set out from the far side
            self._ticket = NO_TICKET
        return landed

    def note_time(self, late: bool) -> bool:
        """As :meth:`ArFiller.note_time`."""
        return self.ar.note_time(late)


def _open_voice(
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
    pitch = PitchFiller(*stream) if "pitch" in manifest.drafts else None
    voice = Voice(manifest, gap, line, Governor(), pitch, content == "speech", 0.0)
    voice.cost_ms = _measure_cost(voice)
    line.counters = counters
    return voice


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
