"""Recipes: TOML files with all settings of a training.

::

    [task]      kind, initial weights, choice of clips, number of validation segments
    [data]      plan of the segments; [data.train] and [data.valid] override parts of it
    [settings]  of the task: grid, sizes of the network, weights of the loss
    [schedule]  steps, learning rate, seed
    [model]     fields of the exported manifest

Reading is strict: unknown and missing keys and values of another type are refused by their names.
"""

import dataclasses
import hashlib
import json
import re
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, TypeVar

import msgspec
from msgspec import inspect, structs

from plc.errors import ConfigError, most_like, unknown
from plc_training.data.segments import Plan, Segments
from plc_training.tasks.base import (
    FINITE,
    ModelCard,
    Settings,
    Task,
    TaskChoice,
    check_choice,
    shown,
)
from plc_training.tasks.bridge import BridgeTask
from plc_training.tasks.causal import CausalTask
from plc_training.tasks.context_encoder import ContextEncoderTask
from plc_training.tasks.heard import HeardBridgeTask, HeardTask
from plc_training.tasks.inpaint import InpaintTask
from plc_training.train.loop import Schedule
from plc_training.train.optimiser import BETA1

MODEL_PREFIX = "model:"
"""Marks a model, not another recipe, as the source of the initial weights."""

_T = TypeVar("_T")
_TABLES = ("task", "data", "settings", "schedule", "model")
# Settings, by default 0, that tasks did not always have.
_LATER_SETTINGS = ("roots", "early_adapters", "early_frames", "line")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """All settings of a training; an existing recipe is valid."""

    name: str
    task: TaskChoice
    train: Plan
    valid: Plan
    settings: Settings
    schedule: Schedule
    model: ModelCard
    text: str
    """The TOML text that was read."""

    @property
    def task_type(self) -> type[Task]:
        """Class of the task."""
        return TASKS[self.task.kind]

    def make_task(self, train: Segments, valid: Segments) -> Task:
        """Return the task on prepared segments."""
        return self.task_type(self.train, self.settings, train, valid)

    def fingerprint(self) -> str:
        """Return a hash of every value that changes the weights.

        The manifest's words and the time between checkpoints are left out.
        """
        schedule = structs.asdict(self.schedule)
        del schedule["checkpoint_s"]
        # Runs from before these could be chosen go on.
        if schedule["beta1"] == BETA1:
            del schedule["beta1"]
        settings = structs.asdict(self.settings)
        for name in _LATER_SETTINGS:
            if not settings.get(name, True):
                del settings[name]
        task = structs.asdict(self.task)
        plans = [dataclasses.asdict(plan) for plan in (self.train, self.valid)]
        text = json.dumps([plans, [task, settings], schedule], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def with_steps(self, steps: int | None) -> "Recipe":
        """Return the recipe with another number of steps, for trials; None: unchanged.

        The learning rate falls over the new number, and the last step validates.
        """
        if steps is None:
            return self
        schedule = structs.replace(self.schedule, steps=steps)
        return dataclasses.replace(self, schedule=schedule)


def recipe_names() -> list[str]:
    """Return the names of the package's recipes."""
    return sorted(_files())


def read_recipe(name_or_path: str | Path) -> Recipe:
    """Return a recipe by its name in the package or its path.

    Raises
    ------
    ConfigError
        If the recipe does not exist, or is not valid.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml" and len(path.parts) < 2:
        if str(name_or_path) not in recipe_names():
            more = "; a file is given by its path, such as ./my-recipe.toml"
            raise ConfigError(
                unknown("recipe", str(name_or_path), recipe_names(), more, "in the package")
            )
        path = _files()[str(name_or_path)]
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    return parse_recipe(text, path.stem, str(path))


def recipe_with(recipe_name: str, name: str, values: Mapping[str, Any]) -> Recipe:
    """Return a recipe of the package with other values of keys, such as ``data.frames``.

    Raises
    ------
    ConfigError
        If a value is not valid.
    """
    text = read_recipe(recipe_name).text
    for key, value in values.items():
        table, _, word = key.partition(".")
        # Texts, numbers and lists of numbers are alike in JSON and TOML.
        line = rf"\g<1>{json.dumps(value)}"
        text = re.sub(rf"(?ms)^(\[{table}\]$.*?^{word} = )[^\n]*", line, text, count=1)
    return parse_recipe(text, name, recipe_name)


def parse_recipe(text: str, name: str, label: str) -> Recipe:
    """Return the recipe of a TOML text; ``label`` names it in messages.

    Raises
    ------
    ConfigError
        If the recipe is not valid.
    """
    try:
        tables = tomllib.loads(text)
        return _recipe(tables, text, name)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{label}: not valid TOML: {error}") from error
    except ConfigError as error:
        raise ConfigError(f"{label}: {error}") from error


def _files() -> dict[str, Path]:
    """Return the package's recipes by name, earlier steps (``history``) included."""
    folder = Path(str(resources.files("plc_training"))) / "recipes"
    return {path.stem: path for path in folder.rglob("*.toml")}


def _recipe(tables: dict[str, Any], text: str, name: str) -> Recipe:
    _refuse_unknown("", tables, _TABLES)
    found = {each: dict(_table(tables, each)) for each in _TABLES}
    choice = _build(TaskChoice, found["task"], "task")
    check_choice("task.kind", choice.kind, TASKS)
    task = TASKS[choice.kind]
    data = dict(found["data"])
    parts = {split: _table(data, split, "data.") for split in ("train", "valid")}
    common = {key: value for key, value in data.items() if key not in parts}
    plans = [_build(task.plan_type, common | part, "data") for part in parts.values()]
    settings = _build(task.settings_type, found["settings"], "settings")
    schedule = _build(Schedule, found["schedule"], "schedule")
    card = _build(ModelCard, found["model"], "model")
    for plan in plans:
        task.check(plan, settings, choice, card)
    if len({task.shape(plan) for plan in plans}) > 1:
        raise ConfigError("data.train and data.valid differ in the rate or length of their lines")
    train, valid = plans
    return Recipe(
        name=name,
        task=choice,
        train=train,
        valid=valid,
        settings=settings,
        schedule=schedule,
        model=card,
        text=text,
    )


def _table(tables: dict[str, Any], name: str, prefix: str = "") -> dict[str, Any]:
    table = tables.get(name, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{prefix}{name} is {shown(table)}; expected a table: [{prefix}{name}]")
    return table


def _build(kind: type[_T], table: dict[str, Any], where: str) -> _T:
    hints = typing.get_type_hints(kind, include_extras=True)
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType | inspect.DataclassType)
    _refuse_unknown(f"{where}.", table, tuple(hints))
    for each in info.fields:
        if each.required and each.name not in table:
            raise ConfigError(f"{where}.{each.name} is missing; expected {_expected(each.type)}")
    values = {name: _typed(value, hints[name], f"{where}.{name}") for name, value in table.items()}
    return kind(**values)


def _refuse_unknown(prefix: str, table: dict[str, Any], known: tuple[str, ...]) -> None:
    for name in table:
        if name not in known:
            names = ", ".join(known) or "none"
            raise ConfigError(f"{prefix}{name} is unknown; known: {names}{most_like(name, known)}")


def _typed(value: Any, hint: Any, where: str) -> Any:
    """Return a value as its declared type; refuse its innermost wrong item."""
    try:
        return msgspec.convert(value, hint)
    except msgspec.ValidationError as error:
        info = inspect.type_info(hint)
        if value in ([], {}):
            raise ConfigError(f"{where} is empty; expected at least one") from error
        if isinstance(value, list) and isinstance(info, inspect.VarTupleType):
            for i, item in enumerate(value):
                _typed(item, _item_hint(hint, 0), f"{where}[{i}]")
        if isinstance(value, dict) and isinstance(info, inspect.DictType):
            for name, item in value.items():
                _typed(item, _item_hint(hint, 1), f"{where}.{name}")
        raise ConfigError(f"{where} is {shown(value)}; expected {_expected(info)}") from error


def _item_hint(hint: Any, argument: int) -> Any:
    """Return the type of list items (0) or table values (1)."""
    if typing.get_origin(hint) is typing.Annotated:
        hint = typing.get_args(hint)[0]
    return typing.get_args(hint)[argument]


def _expected(info: inspect.Type) -> str:
    match info:
        case inspect.VarTupleType():
            return f"a list, each item {_expected(info.item_type)}"
        case inspect.TupleType():
            return f"a list of {len(info.item_types)}: {', '.join(map(_expected, info.item_types))}"
        case inspect.DictType():
            return f"a table, each value {_expected(info.value_type)}"
        case inspect.LiteralType():
            return " or ".join(map(str, info.values))
        case inspect.IntType() | inspect.FloatType():
            return _number(info)
    return "true or false" if isinstance(info, inspect.BoolType) else "a text"


def _number(info: inspect.IntType | inspect.FloatType) -> str:
    bounds = {"above": info.gt, "at least": info.ge, "below": info.lt, "at most": info.le}
    words = ["a whole number" if isinstance(info, inspect.IntType) else "a number"]
    words += [f"{w} {b:g}" for w, b in bounds.items() if b is not None and b != FINITE]
    return ", ".join(words)


_OF_PAPERS = ("restore:RestoreTask", "stroke:StrokeTask", "gacela:GacelaTask", "notes:NotesTask")

TASKS: dict[str, type[Task]] = {
    task.kind: task
    for task in (
        InpaintTask,
        CausalTask,
        HeardTask,
        HeardBridgeTask,
        BridgeTask,
        ContextEncoderTask,
        *(resolve_name(f"plc_training.papers.{place}") for place in _OF_PAPERS),
    )
}
"""One line for each task."""
