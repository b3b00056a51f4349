"""Recipes: one TOML file says all that a training needs but where the audio is.

::

    [task]      kind, what to begin from, which clips, how many segments validate
    [data]      the plan of the segments; [data.train] and [data.valid] differ in what they name
    [settings]  of the task: grid, sizes of the network, weights of the loss
    [schedule]  steps, learning rate, seed
    [model]     what the exported manifest says

Reading is strict: what is unknown, missing or of another type is refused by its name.
"""

import dataclasses
import hashlib
import json
import tomllib
import typing
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from plc.audio.quality import WINDOW_MS
from plc.errors import ConfigError
from plc.limits import RECOVERY_MS
from plc.models.catalogue import find
from plc.models.manifest import CONTENTS
from plc_bench.scores.speech import SPEECH_RATE
from plc_kernels.phase.windows import grid_window_samples
from plc_training.data.segments import DOMAINS, BridgePlan, CausalPlan, TwoSidedPlan
from plc_training.networks.onnx_graph import WEIGHT_BITS
from plc_training.tasks.base import StreamSettings
from plc_training.tasks.bridge import BridgeSettings
from plc_training.tasks.causal import CausalSettings
from plc_training.tasks.heard import HeardSettings
from plc_training.tasks.heard_plan import HeardPlan
from plc_training.tasks.paper_plan import PaperPlan
from plc_training.tasks.two_sided import TwoSidedSettings
from plc_training.train.loop import Schedule

AnyPlan = TwoSidedPlan | CausalPlan | HeardPlan | BridgePlan | PaperPlan
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperSettings:
    """The paper leaves nothing to set."""


AnySettings = TwoSidedSettings | CausalSettings | HeardSettings | BridgeSettings | PaperSettings

KINDS: dict[str, tuple[type[AnyPlan], type[AnySettings]]] = {
    "two_sided": (TwoSidedPlan, TwoSidedSettings),
    "causal": (CausalPlan, CausalSettings),
    "heard": (HeardPlan, HeardSettings),
    "bridge": (BridgePlan, BridgeSettings),
    "paper_magnitude": (PaperPlan, PaperSettings),
    "paper_complex": (PaperPlan, PaperSettings),
}
"""For each kind of task, the types of its plan and settings."""

MODEL_PREFIX = "model:"
"""Of what a run begins from that is a model, not another recipe."""

# Of which there must be some.
_POSITIVE = {
    *("sample_rate", "margin", "horizon", "gaps_ms", "contexts_ms", "packet_ms", "rung", "burst"),
    *("lookaheads", "beyond", "losses", "piece_s"),
    *("shift_ms", "bin_hz", "context_frames", "horizon_frames"),
    *("channels", "gru", "width", "groups", "bands"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskChoice:
    """What is trained.

    Attributes
    ----------
    kind : str
        Of :data:`KINDS`.
    begin_from : str
        Another recipe, whose best weights to begin with; or ``model:`` and the name of a model of
        the package or the path of a manifest; empty: from weights drawn anew.
    valid_segments : int
        So many validate, as many of each domain as there are; 0: all.
    source_top_hz : float
        Clips whose source holds nothing up to this frequency are left out.
    leave_out : tuple of str
        Patterns of file names, as a shell has them, of clips that are left out: those kept to
        test with.
    """

    kind: str
    begin_from: str = ""
    valid_segments: int = 0
    source_top_hz: float = 0.0
    leave_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What the manifest of the exported model says that nothing else does.

    Attributes
    ----------
    name : str
        Of the model.
    content : str
        What it is for: one of :data:`plc.models.manifest.CONTENTS`.
    licence : str
        Of the weights.
    sample_rates : tuple of int
        Lowest and highest rate in Hz that it may be used at; none: the one of the data.
    horizon_ms : float
        Longest gap that a stream asks a causal model for, where that is less than it is trained
        for: every frame costs time. 0: as trained.
    weight_bits : int
        Of a weight in the file: 16 (half precision) or 8 (a scale for each output).
    """

    name: str
    content: str
    licence: str
    sample_rates: tuple[int, ...] = ()
    horizon_ms: float = 0.0
    weight_bits: int = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A training, but for the audio; one that exists is valid."""

    name: str
    task: TaskChoice
    train: AnyPlan
    valid: AnyPlan
    settings: AnySettings
    schedule: Schedule
    model: ModelCard
    text: str
    """The TOML that it was read from."""

    def fingerprint(self) -> str:
        """Return a hash of all that changes what is trained.

        Left out are the manifest's words, and when to save and to lose patience.
        """
        schedule = dataclasses.asdict(self.schedule)
        del schedule["checkpoint_s"], schedule["patience"]
        plans = [dataclasses.asdict(plan) for plan in (self.train, self.valid)]
        parts = [dataclasses.asdict(part) for part in (self.task, self.settings)]
        text = json.dumps([plans, parts, schedule], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def with_steps(self, steps: int | None) -> "Recipe":
        """Return the recipe with another number of steps, for trials; None: as it is.

        The learning rate falls within the new number, and the last step validates.
        """
        if steps is None:
            return self
        schedule = dataclasses.replace(self.schedule, steps=steps)
        return dataclasses.replace(self, schedule=schedule)


def recipe_names() -> list[str]:
    """Return the names of the package's recipes."""
    return sorted(_files())


def read_recipe(name_or_path: str | Path) -> Recipe:
    """Return a recipe of the package by its name, or any other by its path.

    Raises
    ------
    ConfigError
        If there is none, or it is not valid.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml" and len(path.parts) == 1:
        if str(name_or_path) not in recipe_names():
            raise ConfigError(
                f"recipe is {str(name_or_path)!r}; in the package: {', '.join(recipe_names())}; a "
                "file is given by its path, such as ./my-recipe.toml"
            )
        path = _files()[str(name_or_path)]
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    return parse_recipe(text, path.stem, str(path))


def parse_recipe(text: str, name: str, label: str) -> Recipe:
    """Return the recipe that a text says; ``label`` is what errors call it.

    Raises
    ------
    ConfigError
        If it is not valid.
    """
    try:
        tables = tomllib.loads(text)
        return _recipe(tables, text, name)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{label}: no valid TOML: {error}") from error
    except ConfigError as error:
        raise ConfigError(f"{label}: {error}") from error


def domains_of(plan: AnyPlan) -> tuple[str, ...]:
    """Return the domains that a plan makes segments of."""
    if isinstance(plan, TwoSidedPlan):
        return tuple(name for name, wanted in plan.per_second.items() if wanted > 0.0)
    return plan.domains


def _files() -> dict[str, Path]:
    """Return the package's recipes by name; those of earlier steps are in ``history``."""
    folder = Path(str(resources.files("plc_training"))) / "recipes"
    return {path.stem: path for path in folder.rglob("*.toml")}


def _recipe(tables: dict[str, Any], text: str, name: str) -> Recipe:
    known = ("task", "data", "settings", "schedule", "model")
    _refuse_unknown("", tables, known)
    for each in known:
        if not isinstance(tables.get(each, {}), dict):
            raise ConfigError(f"{each} is {_shown(tables[each])}; expected a table: [{each}]")
    task = _build(TaskChoice, tables.get("task", {}), "task")
    if task.kind not in KINDS:
        raise ConfigError(f"task.kind is {task.kind!r}; expected {' or '.join(KINDS)}")
    plan, settings = KINDS[task.kind]
    data = dict(tables.get("data", {}))
    parts = {split: data.pop(split, {}) for split in ("train", "valid")}
    for split, part in parts.items():
        if not isinstance(part, dict):
            raise ConfigError(f"data.{split} is {_shown(part)}; expected a table: [data.{split}]")
    made = Recipe(
        name=name,
        task=task,
        train=_build(plan, data | parts["train"], "data"),
        valid=_build(plan, data | parts["valid"], "data"),
        settings=_build(settings, tables.get("settings", {}), "settings"),
        schedule=_build(Schedule, tables.get("schedule", {}), "schedule"),
        model=_build(ModelCard, tables.get("model", {}), "model"),
        text=text,
    )
    _check(made)
    return made


def _build(kind: type[_T], table: dict[str, Any], where: str) -> _T:
    """Return a dataclass of a table's values, each of its declared type."""
    hints = typing.get_type_hints(kind)
    assert dataclasses.is_dataclass(kind)
    fields = {each.name: each for each in dataclasses.fields(kind)}
    _refuse_unknown(f"{where}.", table, tuple(fields))
    required = dataclasses.MISSING
    for name, each in fields.items():
        if name not in table and each.default is required and each.default_factory is required:
            raise ConfigError(f"{where}.{name} is missing; expected {_described(hints[name])}")
    values = {name: _typed(hints[name], value, f"{where}.{name}") for name, value in table.items()}
    made: _T = kind(**values)
    return made


def _refuse_unknown(prefix: str, table: dict[str, Any], known: tuple[str, ...]) -> None:
    for name in table:
        if name not in known:
            raise ConfigError(f"{prefix}{name} is unknown; known: {', '.join(known) or 'none'}")


def _typed(hint: Any, value: Any, where: str) -> Any:
    """Return a value as the type that a hint asks for."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and isinstance(value, list):
        several = len(arguments) == 2 and arguments[1] is Ellipsis
        if several or len(arguments) == len(value):
            of_each = arguments[:1] * len(value) if several else arguments
            return tuple(
                _typed(one, item, f"{where}[{i}]")
                for i, (one, item) in enumerate(zip(of_each, value, strict=True))
            )
    elif origin is dict and isinstance(value, dict):
        return {name: _typed(arguments[1], item, f"{where}.{name}") for name, item in value.items()}
    elif hint is float and type(value) in (int, float):
        return float(value)
    elif hint in (int, str, bool) and type(value) is hint:
        return value
    raise ConfigError(f"{where} is {_shown(value)}; expected {_described(hint)}")


def _described(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return f"a list, each item {_described(arguments[0])}"
    if origin is tuple:
        return f"a list of {len(arguments)}: {', '.join(map(_described, arguments))}"
    if origin is dict:
        return f"a table, each value {_described(arguments[1])}"
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    return names[hint]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _check(recipe: Recipe) -> None:
    """Refuse what no type forbids and no training survives."""
    _check_numbers("data", recipe.train)
    _check_numbers("data", recipe.valid)
    _check_numbers("settings", recipe.settings)
    for name in ("valid_segments", "source_top_hz"):
        if getattr(recipe.task, name) < 0:
            raise ConfigError(f"task.{name} is {getattr(recipe.task, name)}; expected at least 0")
    if recipe.model.content not in CONTENTS:
        raise ConfigError(
            f"model.content is {recipe.model.content!r}; expected {' or '.join(CONTENTS)}"
        )
    rates = recipe.model.sample_rates
    if rates and not (len(rates) == 2 and rates[0] <= rates[1]):
        raise ConfigError(
            f"model.sample_rates is {_shown(rates)}; expected the lowest, the highest"
        )
    if recipe.model.weight_bits not in WEIGHT_BITS:
        raise ConfigError(
            f"model.weight_bits is {recipe.model.weight_bits}; known: "
            f"{', '.join(map(str, WEIGHT_BITS))}"
        )
    if not 0.0 <= recipe.model.horizon_ms < float("inf"):
        raise ConfigError(f"model.horizon_ms is {recipe.model.horizon_ms:g}; expected at least 0")
    if recipe.model.horizon_ms and not isinstance(recipe.settings, CausalSettings):
        raise ConfigError(f"model.horizon_ms is for causal models, not {recipe.task.kind}")
    for plan in (recipe.train, recipe.valid):
        _check_domains("data", domains_of(plan))
        _check_speeds(plan.speeds)
        if isinstance(plan, TwoSidedPlan) and isinstance(recipe.settings, TwoSidedSettings):
            _check_two_sided(plan, recipe.settings)
        if isinstance(plan, CausalPlan) and isinstance(recipe.settings, CausalSettings):
            _check_causal(plan, recipe.settings)
        if isinstance(plan, HeardPlan) and isinstance(recipe.settings, HeardSettings):
            _check_heard(recipe, plan, recipe.settings)
            _check_causal(plan.bursts, recipe.settings)
        if isinstance(plan, BridgePlan) and isinstance(recipe.settings, BridgeSettings):
            _check_bridge(plan, recipe.settings)
    shapes = {(plan.sample_rate, plan.samples, plan.lines) for plan in (recipe.train, recipe.valid)}
    pieces = {
        (plan.margin, plan.horizon, plan.packet_samples)
        for plan in (recipe.train, recipe.valid)
        if isinstance(plan, HeardPlan)
    }
    if len(shapes) > 1 or len(pieces) > 1:
        raise ConfigError("data.train and data.valid differ in the rate or length of their lines")


def _check_numbers(where: str, part: AnyPlan | AnySettings) -> None:
    """Refuse negative numbers, and nothing where something is counted or measured."""
    for name, value in dataclasses.asdict(part).items():
        several = list(value.values()) if isinstance(value, dict) else value
        numbers = several if isinstance(several, (list, tuple)) else [value]
        if not numbers:
            raise ConfigError(f"{where}.{name} is empty; expected at least one")
        may_be_zero = name not in _POSITIVE
        for number in numbers:
            if isinstance(number, str):
                continue
            if not 0 <= number < float("inf") or (number == 0 and not may_be_zero):
                expected = "at least 0" if may_be_zero else "above 0"
                raise ConfigError(f"{where}.{name} is {_shown(value)}; expected {expected}")


def _check_domains(where: str, domains: typing.Iterable[str]) -> None:
    for name in domains:
        if name not in DOMAINS:
            raise ConfigError(f"{where} names {name!r}; known domains: {', '.join(DOMAINS)}")


def _check_speeds(speeds: tuple[float, ...]) -> None:
    if 1.0 not in speeds or min(speeds) < 0.5 or max(speeds) > 2.0:
        raise ConfigError(
            f"data.speeds is {_shown(speeds)}; expected 1 and others from 0.5 to 2: without 1 a "
            "network never hears the topmost bins, which resampling empties"
        )


def _check_two_sided(plan: TwoSidedPlan, settings: TwoSidedSettings) -> None:
    _check_domains("settings.domain_weights", settings.domain_weights)
    hop = grid_window_samples(plan.sample_rate, settings.bin_hz) // 4
    # Frames reach to a hop's multiple beyond the longest gap.
    needed = (settings.context_frames + 3) * hop + -plan.longest % hop
    _check_margin(plan.margin, needed, "context_frames on either side")
    if not any(settings.domain_weights.get(name, 0.0) for name in domains_of(plan)):
        raise ConfigError("settings.domain_weights gives no weight to any domain of data")


def _check_causal(plan: CausalPlan, settings: CausalSettings) -> None:
    if settings.draft_share > 1.0:
        raise ConfigError(f"settings.draft_share is {settings.draft_share}; expected 0 to 1")
    if settings.width % settings.groups:
        raise ConfigError(
            f"settings.groups is {settings.groups}; expected a divisor of width, {settings.width}"
        )
    hop = _check_past(plan, settings)
    # Three hops at the end are needed to complete those before them.
    if plan.horizon < 4 * hop:
        raise ConfigError(f"data.horizon is {plan.horizon} samples; expected at least {4 * hop}")


def _check_heard(recipe: Recipe, plan: HeardPlan, settings: HeardSettings) -> None:
    if plan.sample_rate != SPEECH_RATE:
        raise ConfigError(f"data.sample_rate is {plan.sample_rate}; the judges hear {SPEECH_RATE}")
    if plan.samples <= plan.sample_rate + plan.horizon:
        raise ConfigError(
            f"data.piece_s is {plan.piece_s:g}; expected more than 1 s and data.horizon"
        )
    if settings.adapters and not recipe.task.begin_from:
        raise ConfigError("settings.adapters is for a network that begins from another")
    for name, only in (("colour_db", 0.0), ("recovery_ms", RECOVERY_MS)):
        if getattr(settings, name) != only:
            raise ConfigError(
                f"settings.{name} is {getattr(settings, name):g}; streams are heard as they are "
                f"played: {only:g}"
            )
    manifest = find(plan.model)
    hop = grid_window_samples(plan.sample_rate, settings.bin_hz) // 4
    filled = settings.horizon_frames * hop
    played = manifest.horizon_samples(plan.sample_rate) if manifest.kind == "causal" else 0
    if manifest.drafts != plan.bursts.lines[1:] or filled != played:
        raise ConfigError(
            f"data.model {plan.model} fills {played} samples of a causal stream from the drafts "
            f"{', '.join(manifest.drafts)}; expected settings.horizon_frames of {hop} samples, "
            f"{filled}, from {', '.join(plan.bursts.lines[1:])}"
        )
    needed = (manifest.frames(plan.sample_rate) + 3) * hop
    if plan.margin + plan.horizon < needed or plan.horizon < filled + 4 * hop:
        raise ConfigError(
            f"data.margin and data.horizon are {plan.margin} and {plan.horizon} samples; the "
            f"model's frames need {needed} and at least {filled + 4 * hop} of them behind the gap"
        )


def _check_bridge(plan: BridgePlan, settings: BridgeSettings) -> None:
    hop = _check_past(plan, settings)
    if plan.horizon % hop:
        raise ConfigError(
            f"data.lookaheads of {plan.packet_ms:g} ms make a gap of {plan.horizon} samples; "
            f"expected a multiple of the grid's hop, {hop}"
        )
    # What the network sees after the longest gap, what the loss does, and what has arrived.
    seen = (3 + settings.context_frames_after) * hop
    needed = max(seen, _judged_samples(plan.sample_rate), plan.packet_samples)
    if plan.beyond < needed:
        raise ConfigError(f"data.beyond is {plan.beyond} samples; expected at least {needed}")


def _check_past(plan: CausalPlan | BridgePlan, settings: StreamSettings) -> int:
    """Check what is known before a gap; return the grid's hop."""
    hop = grid_window_samples(plan.sample_rate, settings.bin_hz) // 4
    needed = max((settings.context_frames + 3) * hop, _judged_samples(plan.sample_rate))
    _check_margin(plan.margin, needed, "context_frames and the loss")
    return hop


def _judged_samples(sample_rate: int) -> int:
    return grid_window_samples(sample_rate, 1000.0 / WINDOW_MS)


def _check_margin(margin: int, needed: int, why: str) -> None:
    if margin < needed:
        raise ConfigError(
            f"data.margin is {margin} samples; {why} of this grid need at least {needed}"
        )
