"""The networks of a stream: opened, timed, and kept if they answer in its time."""

import math
from collections.abc import Mapping
from typing import Any

from plc.limits import MUSIC_RATE
from plc.models.manifest import Manifest
from plc.networks.drafts import BridgeDraft, BurstDraft
from plc.networks.streams.served import (
    ServedNetwork,
    StreamContext,
    is_prompt,
    leave_passages,
    no_answer,
    open_served,
)
from plc.predict.linear import LEAST_KNOWN
from plc.runtime.runner import InlineRunner, Runner
from plc_kernels.burst import ONSET_MS

# An answer is waited for until this share of the time limit: it has to become samples, too.
ANSWER_BY = 0.85
# Shares of the time limit that a network may take of a burst's first packet, where that waits for
# its answer, and where it only asks. The rest is the drafts'.
ANSWER_SHARE = 0.6
_ASKING_SHARE = 0.4
# Passages that take more of it are not looked for.
_PASSAGES_SHARE = 0.4


class OpenNetworks:
    """The models that serve a stream, and why others do not.

    Parameters
    ----------
    context, models, bridges
        As for :class:`~plc.networks.streams.filler.NetworkFiller`.

    Attributes
    ----------
    causal, bridges : dict
        Models by content: those that continue the past, and those for gaps whose end is known.
    each : tuple
        All of them, each once.

    Raises
    ------
    ConfigError, ModelError, MissingExtraError
        If a model is not for this stream, not sound, or ONNX Runtime is not installed.
    """

    def __init__(
        self,
        context: StreamContext,
        models: Mapping[str, Manifest],
        bridges: Mapping[str, Manifest],
    ) -> None:
        self._context = context
        # Of one that no packet waits for: the packets that pass before it takes over.
        self._spare_ms = context.packet_ms * math.ceil(ONSET_MS / context.packet_ms)
        self._left_out: dict[str, dict[str, str | float]] = {}
        self.causal: dict[str, ServedNetwork[BurstDraft]] = self._affordable(self._opened(models))
        if (
            context.sample_rate >= MUSIC_RATE
            and "music" in self.causal
            and "speech" in self._left_out
        ):
            # It is better than none, and as good on percussion that passes for speech.
            self.causal["speech"] = self.causal["music"]
            self._left_out["speech"]["instead"] = self.causal["music"].manifest.name
        # Less than that beyond a gap is no bridge's end, and more than that is no gap for it.
        fitting = {
            content: manifest
            for content, manifest in bridges.items()
            if LEAST_KNOWN
            <= context.packet_samples
            <= manifest.horizon_samples(context.sample_rate)
        }
        self.bridges: dict[str, ServedNetwork[BridgeDraft]] = self._affordable(
            self._opened(fitting)
        )
        opened: list[ServedNetwork[Any]] = [*self.causal.values(), *self.bridges.values()]
        self.each = tuple({id(served): served for served in opened}.values())

    def describe(self) -> dict[str, dict[str, str | float]]:
        """Return the models by content: name, mode, state, cost of a burst.

        ``state`` is that of :attr:`ServedNetwork.state`; ``error``, where it is there, what last
        went wrong, and ``without`` which of its drafts would take too long here. One whose mode is
        ``"left out"`` does not answer, which ``why`` tells, or takes too much
        of the stream's time; ``budget_ms``, where it is there, is what it would serve in, and
        ``instead`` the model that serves its content meanwhile.
        """
        kinds: tuple[dict[str, ServedNetwork[Any]], ...] = (self.causal, self.bridges)
        held = {_of(key, kind[key].manifest): kind[key] for kind in kinds for key in kind}
        return {of: _described(served) for of, served in held.items()} | self._left_out

    def _opened(self, models: Mapping[str, Manifest]) -> dict[str, ServedNetwork[Any]]:
        """Open models by content; one that serves two contents alike is opened once."""
        context = self._context
        networks: dict[str, ServedNetwork[Any]] = {}
        for content, manifest in models.items():
            prompt = is_prompt(manifest, content, context.stream)
            alike = [v for v in networks.values() if v.manifest is manifest and v.prompt == prompt]
            if alike:
                networks[content] = alike[0]
                continue
            networks[content] = open_served(manifest, content, context)
        return networks

    def _affordable(self, networks: dict[str, ServedNetwork[Any]]) -> dict[str, ServedNetwork[Any]]:
        """Return the models that leave their drafts enough of a packet's time; end the others."""
        afforded = {}
        for content, served in networks.items():
            least_ms = self._least_limit_ms(served)
            while (
                least_ms > self._context.limit_ms or self._slow_passages(served)
            ) and served.measure_again():
                least_ms = self._least_limit_ms(served)
            if least_ms <= self._context.limit_ms:
                if self._slow_passages(served):
                    leave_passages(served)
                afforded[content] = served
                continue
            served.runner.close()
            found = _described(served) | {"mode": "left out"}
            del found["state"]
            if least_ms == float("inf"):
                del found["cost_ms"]
                found["why"] = no_answer()
            elif least_ms <= self._context.packet_ms:
                found["budget_ms"] = math.ceil(10.0 * least_ms) / 10.0
            self._left_out[_of(content, served.manifest)] = found
        return afforded

    def _slow_passages(self, served: ServedNetwork[Any]) -> bool:
        most_ms = _PASSAGES_SHARE * self._context.limit_ms
        return served.draft.recalls and served.cost.draft_ms > most_ms

    def _least_limit_ms(self, served: ServedNetwork[Any]) -> float:
        """Return the least time limit in which a model answers in time."""
        if served.prompt:
            return served.cost.burst_ms / ANSWER_SHARE
        late_ms = served.cost.burst_ms - self._spare_ms
        return max(served.cost.asking_ms / _ASKING_SHARE, late_ms / ANSWER_BY)

    def taken_ms(self, content: str) -> float:
        """Return the time that networks take of a burst's first packet."""
        if self._context.limit_ms == float("inf"):
            return 0.0
        kinds: tuple[dict[str, ServedNetwork[Any]], ...] = (self.causal, self.bridges)
        held = [kind[content] for kind in kinds if content in kind]
        after_ms = (1.0 - ANSWER_BY) * self._context.limit_ms
        return max((v.first_ms + after_ms * v.prompt for v in held), default=0.0)


def _of(content: str, manifest: Manifest) -> str:
    """Return a model's content, with its mode if it bridges."""
    return f"{content}, bridged" if manifest.kind == "bridge" else content


def _mode_of(runner: Runner) -> str:
    """Return where a network runs: ``worker`` or ``inline``."""
    return "inline" if isinstance(runner, InlineRunner) else "worker"


def _described(served: ServedNetwork[Any]) -> dict[str, str | float]:
    """Return the description of a model that serves."""
    found: dict[str, str | float] = {
        "model": served.manifest.name,
        "mode": _mode_of(served.runner),
        "state": served.state,
    }
    if served.cost.measurements:
        found["cost_ms"] = round(served.cost.draft_ms + served.cost.burst_ms, 4)
    if served.draft.names != served.manifest.drafts:
        found["without"] = served.manifest.drafts[0]
    if served.runner.last_error:
        found["error"] = served.runner.last_error
    return found
