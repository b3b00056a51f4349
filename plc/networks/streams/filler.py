"""The top rung of the ladder: a network that improves on linear prediction, within a deadline.

At the start of a burst linear prediction drafts the whole horizon, alone or along the pitch or
passages of the past, the network is run once on that draft and its past, and the burst's packets
play what came out of it::

    begin    draft ──▶ spectra ──▶ submit ······▶ collect by the deadline ──▶ fill
                                     (a thread of its own)     │ late, failed, off
                                                               ▼
                                                             draft
    extend   draft ──╮ 1 ms           ╭── last 5 ms of the horizon
             fill    ╰────────────────╯────── linear prediction goes on

**When.** A model for speech is collected at once: it makes every packet better, the first one too,
and its drafts are cheap. One for music is collected when the second packet of the burst is due, but
not before 10 ms are over: until then a long prediction is as good as anything, and gets the first
packet's time for itself, while the network has that packet's whole duration for its answer. So is
one for speech in short packets at the rates of music, which are over before it could answer.

**With lookahead** a gap whose end has arrived is bridged before its first packet is due, and a
network for that, where there is one for the content, improves on the bridge in that packet's time.
What lies beyond what it sees is predicted::

    forward     |~~ played ~~|-- from the past ----|~~ arrived ~~|-- predicted --|
    backward    |~~ played ~~|-- from what follows-|~~ arrived ~~|-- predicted --|
    bridge      |~~ played ~~|-- both, blended ----|~~ arrived ~~|-- predicted --|

The draft is always finished first, so there is always something to play, and there is no step
where the one takes over from the other. Which model serves a burst follows from the content, as the
ladder's rungs do.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plc.models.manifest import Manifest
from plc.networks.drafts import BridgeDraft, BurstDraft
from plc.networks.spectra import EDGE_MS
from plc.networks.streams.served import ANSWER_BY, ServedNetwork, StreamContext, open_networks
from plc.predict.filler import STEADY_MOMENT, Filler, Moment
from plc.predict.history import History
from plc.predict.linear import ArFiller
from plc.runtime.runner import NO_TICKET, Outcome
from plc_kernels.bridge import LATE_MS
from plc_kernels.burst import (
    ERROR_SHARE,
    ONSET_MS,
    begin_fill,
    play_fill,
    recalled_weight,
    take_over,
    weigh_recalled,
)
from plc_kernels.burst import (
    LEAVE_MS as LEAVE_MS,
)
from plc_kernels.fade import crossfade_ramp
from plc_kernels.predict import LEAST_KNOWN


class NetworkFiller(Filler):
    """Linear prediction, improved by a network for the content.

    Parameters
    ----------
    context : StreamContext
        The stream, and the conditions that networks run under.
    models : mapping
        Manifests of causal models by content: ``"music"`` for what holds its tones, ``"speech"``
        for what glides and stops. Either may be missing; the moment of a burst says what it is.
    bridges : mapping
        Manifests of models of kind ``bridge`` by content, for streams with lookahead.

    Raises
    ------
    ConfigError, ModelError, MissingExtraError
        If a model is not for this stream, not sound, or ONNX Runtime is not installed.
    """

    bridges = True
    fills_noise = True

    def __init__(
        self,
        context: StreamContext,
        models: Mapping[str, Manifest],
        bridges: Mapping[str, Manifest] = {},
    ) -> None:
        sample_rate, channels, packet_samples = context.stream
        limit_ms = context.limit_ms
        self.counters = context.counters
        self._clock = context.clock
        self._limit_ms = limit_ms
        self._wait_s = ANSWER_BY * limit_ms / 1000.0
        self._networks: dict[str, ServedNetwork[BurstDraft]] = open_networks(models, context)
        fitting = {
            content: manifest
            for content, manifest in bridges.items()
            if LEAST_KNOWN <= packet_samples <= manifest.horizon_samples(sample_rate)
        }
        self._bridges: dict[str, ServedNetwork[BridgeDraft]] = open_networks(fitting, context)
        opened: list[ServedNetwork[Any]] = [*self._networks.values(), *self._bridges.values()]
        self.networks = tuple({id(served): served for served in opened}.values())
        """The models that are open, each once."""
        longest = max((v.gap.horizon for v in self._networks.values()), default=0)
        beyond = max((v.draft.ahead for v in self.networks), default=0)
        longest_packet = max(packet_samples, beyond)
        self.ar = ArFiller(sample_rate, channels, longest_packet, limit_ms, context.reach)
        # Only these listen to what is played.
        self._recalling = [v.draft for v in self.networks if v.draft.recalls]
        pasts = [max(v.gap.gap_start, v.draft.past_samples) for v in self.networks]
        self.past_samples = max([self.ar.past_samples, *pasts])
        self._fill = np.zeros((channels, longest), np.float32)
        self._leave = crossfade_ramp(round(sample_rate * LEAVE_MS / 1000.0))
        self._enter = crossfade_ramp(round(sample_rate * EDGE_MS / 1000.0))
        self._late = round(sample_rate * LATE_MS / 1000.0)
        self._onset = round(sample_rate * ONSET_MS / 1000.0)
        self.late_samples = 0
        self._deadline_s = 0.0
        self._bridged_by = ""
        self._served: ServedNetwork[BurstDraft] | None = None
        self._at_work: ServedNetwork[Any] | None = None
        """What drafts were made for since the last packet."""
        self._ticket = NO_TICKET
        self._made_by_network = False
        self._position = 0
        self._weight = 1.0

    @property
    def names(self) -> tuple[str, ...]:
        """The models, then the rungs of linear prediction."""
        return (*(served.name for served in self.networks), *self.ar.names)

    @property
    def name(self) -> str:
        """The model or rung behind the samples last written."""
        if self._bridged_by:
            return self._bridged_by
        served = self._served
        if served is not None and self._made_by_network and self._position <= served.gap.horizon:
            return served.name
        return self.ar.name

    def describe(self) -> dict[str, Any]:
        """Return the description of linear prediction, and the models by content."""
        causal = {content: served.describe() for content, served in self._networks.items()}
        bridges = {f"{of}, bridged": served.describe() for of, served in self._bridges.items()}
        return self.ar.describe() | {"networks": causal | bridges}

    def reset(self) -> None:
        """Forget the stream; the networks stay open."""
        self.ar.reset()
        self._served = self._at_work = None
        self._bridged_by = ""
        self._ticket = NO_TICKET
        for served in self.networks:
            served.draft.reset()
            served.runner.abandon()
            served.switch.reset()

    def close(self) -> None:
        """End the threads of the networks."""
        for served in self.networks:
            served.runner.close()

    def played(self, block: NDArray[np.float32], received: bool) -> None:
        """Tell the drafts; after received samples, abandon a fill of the gap before."""
        for draft in self._recalling:
            draft.played(block)
        if not received:
            return
        self._abandon()
        for served in self.networks:
            if served.runner.tick():
                served.switch.note(Outcome.FAILED)

    def begin(self, history: History, moment: Moment = STEADY_MOMENT) -> None:
        """Draft the horizon, and have the network improve on it."""
        self._deadline_s = self._clock() + self._wait_s
        self._position = 0
        self._weight = recalled_weight(moment.received_share)
        self._made_by_network = False
        self._bridged_by = ""
        self._abandon()
        bridge = self._bridge(moment)
        if bridge is not None and not bridge.switch.on:
            bridge = None
        self.late_samples = self._late if bridge is not None else 0
        self._served = served = self._choose(bridge, history, moment)
        self._predict(history, moment, served, bridge if moment.gap_samples else None)
        if served is None:
            return
        gap = served.gap
        self._at_work = served
        served.draft.write(history, self.ar, gap.rows, self._weight)
        begin_fill(gap.lines, gap.gap_start, gap.horizon, self._fill)
        if served.switch.on:
            gap.analyse()
            self._ticket = served.runner.submit(gap.spectra, gap.lost)
        if served.prompt and self._ticket != NO_TICKET:
            self._collect(served, self._deadline_s)

    def _predict(
        self, history: History, moment: Moment, *drafted: ServedNetwork[Any] | None
    ) -> None:
        """Begin linear prediction in the time that networks leave to it."""
        left = min((each.left for each in drafted if each is not None), default=1.0)
        limit_ms = min(left * self._limit_ms, moment.limit_ms)
        self.ar.begin(history, moment._replace(limit_ms=limit_ms))

    def _choose(
        self, bridge: ServedNetwork[BridgeDraft] | None, history: History, moment: Moment
    ) -> ServedNetwork[BurstDraft] | None:
        """Return the model that continues the past, or None; ``bridge`` will be asked if it can."""
        served = self._networks.get(moment.content)
        if served is None or self._hurried(moment) or history.filled < served.gap.gap_start:
            return None
        if served.draft.recalls and self._weight == 0.0:
            return None
        if moment.gap_samples and bridge is not None and bridge.serves(history, moment.gap_samples):
            return None
        return served if self._drafts_for(served) else None

    def _drafts_for(self, served: ServedNetwork[Any]) -> bool:
        """Return whether to make drafts for a network; count a concealment for which it is off."""
        if not served.switch.on:
            self.counters.network_off += 1
            served.switch.note_off()
        return served.switch.drafts

    def _bridge(self, moment: Moment) -> ServedNetwork[BridgeDraft] | None:
        return None if self._hurried(moment) else self._bridges.get(moment.content)

    def _hurried(self, moment: Moment) -> bool:
        """Tell whether time is too short for networks."""
        return moment.limit_ms < self._limit_ms

    def next_packet(self) -> None:
        """Take the network's answer if the burst has none yet."""
        served = self._served
        if served is None or self._ticket == NO_TICKET or self._position < self._onset:
            return
        if self._position >= served.gap.horizon:
            self._abandon()  # nobody will hear it
            return
        self._collect(served, self._clock() + self._wait_s)

    def _abandon(self) -> None:
        """Give up a pending answer."""
        if self._ticket != NO_TICKET and self._served is not None:
            self._served.runner.abandon()
        self._ticket = NO_TICKET

    def _collect(self, served: ServedNetwork[BurstDraft], deadline_s: float) -> None:
        """Crossfade from the draft to the network's fill, if in time."""
        outcome = served.runner.collect(self._ticket, deadline_s, served.gap.filled)
        self._ticket = NO_TICKET
        served.switch.note(outcome)
        if not outcome.usable:
            return
        gap = served.gap
        if served.draft.errors is not None:
            gap.hold(served.draft.errors, ERROR_SHARE)
        gap.synthesise()
        if served.draft.recalls:
            weigh_recalled(gap.lines, gap.gap_start, self._weight, gap.made)
        now, ramps = self._position, (self._enter, self._leave)
        take_over(gap.lines, gap.gap_start, now, *ramps, gap.made, self._fill)
        self._made_by_network = True

    def extend(self, out: NDArray[np.float32]) -> None:
        """Write the next samples of the fill; then of the draft, then of linear prediction."""
        if self._served is None:
            self.ar.extend(out)
            return
        gap = self._served.gap
        done = 0
        for c, row in enumerate(out):
            fill, draft = self._fill[c, : gap.horizon], gap.rows[c, -1, gap.gap_start :]
            done = play_fill(fill, draft, self._position, row)
        if done < out.shape[1]:
            self.ar.extend(out[:, done:])
        self._position += out.shape[1]

    def bridge(
        self,
        history: History,
        after: NDArray[np.float32],
        out: NDArray[np.float32],
        moment: Moment = STEADY_MOMENT,
    ) -> bool:
        """Bridge the gap up to ``after``, and improve on the bridge."""
        served = self._bridge(moment)
        if served and not (served.serves(history, out.shape[1]) and self._drafts_for(served)):
            served = None
        if not moment.gap_samples:  # the burst began earlier, and this packet has its own time
            self._deadline_s = self._clock() + self._wait_s
        if moment.fading:  # what the burst began with would go on at full level
            self._abandon()
            self._served = None
            self._predict(history, moment, served)
        if served is None:
            landed = self.ar.bridge_from(self.extend, history, after, out)
        else:
            self._at_work = served
            whole = moment.gap_samples > 0
            landed = served.draft.bridge(self.ar, self.extend, history, after, out, whole)
        if landed:
            self._abandon()
            self._served = None  # linear prediction has set out from the far side
            if (
                served is not None
                and served.switch.on
                and self._improve(served, history, after, out)
            ):
                self._bridged_by = served.name
        return landed

    def _improve(
        self,
        served: ServedNetwork[BridgeDraft],
        history: History,
        after: NDArray[np.float32],
        out: NDArray[np.float32],
    ) -> bool:
        """Improve on the bridge in ``out``; return whether the network could, in time."""
        gap = served.gap
        gap.set_gap(out.shape[1])
        served.draft.write(history, after, out, gap.rows)
        gap.analyse()
        ticket = served.runner.submit(gap.spectra, gap.lost)
        outcome = served.runner.collect(ticket, self._deadline_s, gap.filled)
        served.switch.note(outcome)
        if outcome.usable:
            out[:] = gap.synthesise()
        return outcome.usable

    def took(self, late: bool) -> int:
        """As :meth:`ArFiller.took`; networks switched off or on count as steps, too.

        Where drafts for a network were made, it is the network that took too long.
        """
        served, self._at_work = self._at_work, None
        if late and served is not None:
            served.switch.note(Outcome.LATE)
            late = False
        return self.ar.took(late) + self._switched()

    def pass_time(self, ms: float) -> int:
        """As :meth:`ArFiller.pass_time`; networks switched on again count as steps, too."""
        for served in self.networks:
            served.switch.pass_time(ms)
        return self.ar.pass_time(ms) + self._switched()

    def _switched(self) -> int:
        """Return the turns of all switches since the last call."""
        steps = 0
        for served in self.networks:
            steps += served.switch.take_turns()
        return steps
