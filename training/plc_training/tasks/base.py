"""The interface between tasks and recipe, training loop and export.

A new task is one file with a subclass of :class:`Task`, and one line in
:mod:`plc_training.train.recipe`.
"""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from msgspec import Meta, Struct
from torch import Tensor, nn

from plc.engine.models.manifest import CONTENTS, Manifest
from plc.engine.runtime.onnx_network import NetworkShape, network_signature, open_network
from plc.engine.runtime.providers import Signature
from plc.engine.runtime.shared import BoundSession
from plc.errors import ConfigError, ModelError
from plc_kernels.spectra.windows import grid_window_samples
from plc_training.data.segments import DOMAINS, Plan, Segments
from plc_training.networks.onnx_graph import WEIGHT_BITS

# TOML knows infinity and NaN; no number of a recipe is either.
FINITE = sys.float_info.max
Count = Annotated[int, Meta(ge=1)]
Whole = Annotated[int, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0, le=FINITE)]
Amount = Annotated[float, Meta(ge=0, le=FINITE)]
Share = Annotated[float, Meta(ge=0, le=1)]
Sizes = Annotated[tuple[Count, ...], Meta(min_length=1)]
Weights = Annotated[dict[str, Amount], Meta(min_length=1)]
# Numbers of plans; all others are above 0.
_MAY_BE_ZERO = ["seed", "loss", "played_ms", "similar_s", "per_second", "silence_rms", "spare_ms"]


class Settings(Struct, frozen=True, kw_only=True):
    """Settings of a task: the table ``[settings]``; none by default."""


class TaskChoice(Struct, frozen=True, kw_only=True):
    """Kind, clips and initial weights of a training: the table ``[task]``.

    Attributes
    ----------
    kind : str
        Of :data:`plc_training.train.recipe.TASKS`.
    begin_from : str
        Source of the initial weights: another recipe, whose best weights are read, or ``model:``
        and the name of a model of the package or the path of a manifest; empty: random weights.
    valid_segments : int
        Validation segments, as many of each domain as there are; 0: all.
    source_top_hz : float
        Clips whose source has no content up to this frequency are left out.
    leave_out : tuple of str
        Shell patterns of the file names of clips that are reserved for tests.
    """

    kind: str
    begin_from: str = ""
    valid_segments: Whole = 0
    source_top_hz: Amount = 0.0
    leave_out: tuple[str, ...] = ()


class ModelCard(Struct, frozen=True, kw_only=True):
    """Fields of the manifest from the recipe: the table ``[model]``.

    Attributes
    ----------
    content : str
        One of :data:`plc.engine.models.manifest.CONTENTS`.
    sample_rates : tuple of int
        Lowest and highest supported rate in Hz; empty: the rate of the data.
    horizon_ms : float
        Longest gap that a stream asks a causal model for, where that is shorter than in training:
        every frame costs time. 0: as in training.
    weight_bits : int
        Of a weight in the file: 16 (half precision) or 8 (one scale for each output).

    Raises
    ------
    ConfigError
        If a value is not supported.
    """

    name: str
    content: str
    licence: str
    sample_rates: tuple[int, ...] = ()
    horizon_ms: Amount = 0.0
    weight_bits: int = 16

    def __post_init__(self) -> None:
        """Refuse unsupported values."""
        rates = self.sample_rates
        check_choice("model.content", self.content, CONTENTS)
        if rates and not (len(rates) == 2 and rates[0] <= rates[1]):
            raise ConfigError(f"model.sample_rates is {rates}; expected the lowest, the highest")
        if self.weight_bits not in WEIGHT_BITS:
            known = ", ".join(map(str, WEIGHT_BITS))
            raise ConfigError(f"model.weight_bits is {self.weight_bits}; known: {known}")


@dataclass(frozen=True, slots=True)
class Ports:
    """Names of a graph's inputs and output, and free axes."""

    inputs: tuple[str, ...]
    output: str
    axes: dict[str, dict[int, str]]

    @property
    def free_frames(self) -> bool:
        """True if the graph is exported for any number of frames."""
        return any("frames" in names.values() for names in self.axes.values())


@dataclass(frozen=True, slots=True)
class Turn:
    """One move of a training step: who moves, and by which loss.

    Attributes
    ----------
    player : str
        One of :meth:`Task.players`; its weights alone are changed.
    loss : callable
        Network and batch to the mean loss, a scalar. A player that is a part of the network may be
        called by its name in it; the whole network is called itself.
    pace : float
        Factor of the schedule's learning rate.
    """

    player: str
    loss: Callable[[nn.Module, dict[str, Tensor]], Tensor]
    pace: float = 1.0


class Task(ABC):
    """Base class of tasks: one kind of training, on prepared segments.

    Classes describe a kind to the recipe; instances train, validate and export. By default the
    network is one of the engine's gap networks: ``spectra`` and ``lost`` in, ``filled`` out.

    Parameters
    ----------
    train, valid : Segments
        Segments of the plan, to train on and to validate with.

    Attributes
    ----------
    plan_type, settings_type : type
        Of the recipe's tables ``[data]`` (a dataclass) and ``[settings]``.
    takes_horizon : bool
        Whether ``model.horizon_ms`` has a meaning.
    figure_parity : float
        By how much rounded weights may change the first figure, in its unit.
    """

    kind: ClassVar[str]
    plan_type: ClassVar[type[Plan]]
    settings_type: ClassVar[type[Settings]] = Settings
    takes_horizon: ClassVar[bool] = False
    figure_parity: ClassVar[float] = 0.01
    ports: ClassVar[Ports] = Ports(
        ("spectra", "lost"),
        "filled",
        {"spectra": {0: "batch", 4: "frames"}, "lost": {0: "batch", 1: "frames"}},
    )

    def __init__(self, plan: Any, settings: Any, train: Segments, valid: Segments) -> None:
        self.plan, self.settings = plan, settings
        self._train: Any = train
        self._valid: Any = valid

    @classmethod
    def domains(cls, plan: Any) -> tuple[str, ...]:
        """Return the domains that a plan makes segments of."""
        return tuple(plan.domains)

    @classmethod
    def shape(cls, plan: Any) -> tuple[object, ...]:
        """Return the properties that both plans of a recipe share."""
        return plan.sample_rate, plan.samples, plan.lines

    @classmethod
    def check(cls, plan: Any, settings: Any, choice: TaskChoice, card: ModelCard) -> None:
        """Check one plan of a recipe against its settings.

        Raises
        ------
        ConfigError
            If they cannot be trained.
        """
        _check_numbers(plan)
        check_domains("data", cls.domains(plan))
        if 1.0 not in plan.speeds or min(plan.speeds) < 0.5 or max(plan.speeds) > 2.0:
            raise ConfigError(
                f"data.speeds is {shown(plan.speeds)}; expected 1 and others from 0.5 to 2: "
                "without 1 a network never hears the topmost bins, which resampling empties"
            )
        if card.horizon_ms and not cls.takes_horizon:
            raise ConfigError(f"model.horizon_ms is for causal models, not {choice.kind}")
        cls._check(plan, settings, choice)

    @classmethod
    def _check(cls, plan: Any, settings: Any, choice: TaskChoice) -> None:
        """Check the task's own settings, as :meth:`check`."""
        return

    @classmethod
    def require(cls) -> None:
        """Check for optional programs before segments are made.

        Raises
        ------
        MissingExtraError
            If one is not installed.
        """
        return

    @abstractmethod
    def make_network(self) -> nn.Module:
        """Return the network with random weights."""

    @abstractmethod
    def batch(self, size: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """Return a random batch of training data, on the CPU.

        The first axis is that of the segments; a tensor without axes is common to all.
        """

    @abstractmethod
    def inputs(self, batch: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """Return the network's arguments."""

    @abstractmethod
    def loss(self, output: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Return the mean loss of a batch, a scalar."""

    def players(self) -> tuple[str, ...]:
        """Return the parts of the network that have an optimiser each.

        Names of submodules, or ``""``, the whole network. The running mean of the weights follows
        the first; of the others it holds the weights as they are.
        """
        return ("",)

    def turns(self, step: int) -> tuple[Turn, ...]:
        """Return the moves of a step, in order; all see the same batch.

        A loss that needs random numbers takes them from the batch, so that they do not depend on
        the number of devices. The last move's loss is the one in the log.
        """
        return (Turn("", self._own_loss),)

    def _own_loss(self, network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        return self.loss(network(*self.inputs(batch)).float(), batch)

    def exported(self, network: nn.Module) -> nn.Module:
        """Return the part of the network that becomes a model: by default the whole."""
        return network

    @abstractmethod
    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return validation figures; the first decides, and higher is better."""

    @abstractmethod
    def model_fields(self, card: ModelCard) -> dict[str, Any]:
        """Return the manifest's fields of kind, grid, drafts and gaps.

        Raises
        ------
        ModelError
            If manifests have no kind for the task's networks.
        """

    def signature(self, manifest: Manifest, inputs: tuple[Tensor, ...]) -> Signature:
        """Return names and shapes of the graph's inputs and output."""
        batch, _, _, bins, frames = inputs[0].shape
        return network_signature(manifest, NetworkShape(bins, frames, batch))

    def engine_run(
        self, manifest: Manifest, session: BoundSession, inputs: tuple[Tensor, ...]
    ) -> Callable[[], object]:
        """Return a call that runs one segment as the engine does.

        Raises
        ------
        ModelError
            In the call, if the engine refuses the output.
        """
        rate = manifest.sample_rates[1]
        bins, frames = manifest.bins(rate), manifest.frames(rate)
        # A stream may ask for fewer than in training.
        spectra, lost = (tensor[:1, ..., :frames].contiguous().numpy() for tensor in inputs)
        assert spectra.shape[3:] == (bins, frames), "the manifest's shape is not that of training"
        filled = frames - manifest.context_frames - manifest.context_frames_after
        out = np.zeros((1, 2, bins, filled), np.float32)
        network = open_network(manifest, NetworkShape(bins, frames), providers="cpu")

        def run() -> None:
            if not network.run(spectra, lost, out):
                raise ModelError(
                    f"{manifest.name}: the engine refuses its output: {network.last_error}"
                )

        return run


class SessionTask(Task):
    """Base class of tasks whose graph runs as it is."""

    def engine_run(
        self, manifest: Manifest, session: BoundSession, inputs: tuple[Tensor, ...]
    ) -> Callable[[], object]:
        """Return a call that runs the session."""
        return session.run


def slices(count: int, size: int) -> list[slice]:
    """Return parts of ``count`` segments, ``size`` at most in each."""
    return [slice(begin, begin + size) for begin in range(0, count, size)]


def beside(network: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a batch on the network's device."""
    device = next(network.parameters()).device
    return {name: value.to(device) for name, value in batch.items()}


def grid_hop(plan: Any, settings: Any) -> int:
    """Return the hop of a task's grid in samples."""
    return grid_window_samples(plan.sample_rate, settings.bin_hz) // 4


def grid_fields(plan: Any, settings: Any, card: ModelCard) -> dict[str, Any]:
    """Return the manifest's fields of rates, drafts and grid."""
    return {
        "sample_rates": card.sample_rates or (plan.sample_rate, plan.sample_rate),
        "drafts": plan.lines[1:],
        "bin_hz": settings.bin_hz,
        # The networks take the bins of their own rate, whatever the stream's.
        "top_hz": 2 * grid_hop(plan, settings) * settings.bin_hz,
        "context_frames": settings.context_frames,
    }


def paper_fields(
    kind: str,
    rates: tuple[int, ...],
    bin_hz: float,
    horizon_ms: float,
    frames: int = 0,
    top_hz: float | None = None,
    drafts: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Return the manifest's fields of a paper's network; ``frames`` are known on either side."""
    return {
        "kind": kind,
        "sample_rates": rates,
        "drafts": drafts,
        "bin_hz": bin_hz,
        "top_hz": top_hz,
        "context_frames": frames,
        "context_frames_after": frames,
        "horizon_ms": horizon_ms,
    }


def check_choice(where: str, name: str, known: Collection[str]) -> None:
    """Refuse an unknown name."""
    if name not in known:
        raise ConfigError(f"{where} is {name!r}; expected {' or '.join(known)}")


def check_domains(where: str, domains: Iterable[str]) -> None:
    """Refuse unknown domains."""
    for name in domains:
        if name not in DOMAINS:
            raise ConfigError(f"{where} names {name!r}; known domains: {', '.join(DOMAINS)}")


def check_margin(margin: int, needed: int, why: str) -> None:
    """Refuse a margin below the samples that the grid needs."""
    if margin < needed:
        raise ConfigError(
            f"data.margin is {margin} samples; {why} of this grid need at least {needed}"
        )


def shown(value: Any) -> str:
    """Return a value's text for a message, shortened to 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _check_numbers(plan: Any) -> None:
    """Refuse negative numbers, zeros that have no meaning, and empty lists."""
    for name, value in asdict(plan).items():
        items = list(value.values()) if isinstance(value, dict) else value
        items = items if isinstance(items, list | tuple) else [items]
        if not items:
            raise ConfigError(f"data.{name} is empty; expected at least one")
        numbers = np.array([item for item in items if not isinstance(item, str | bool)], float)
        may_be_zero = name in _MAY_BE_ZERO
        valid = numbers >= 0 if may_be_zero else numbers > 0
        if not np.all(valid & np.isfinite(numbers)):
            expected = "at least 0" if may_be_zero else "above 0"
            raise ConfigError(f"data.{name} is {shown(value)}; expected {expected}")
