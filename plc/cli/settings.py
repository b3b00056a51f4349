"""Settings of measurements: rarely changed options, given by ``--set NAME=VALUE``.

A measurement is a function whose options typer describes. Those that many change stay options of
its command; the others are its settings, checked like options and listed behind them. Measurements
that answer one question share a command: its first argument says which.
"""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand
from typer.main import get_command

from plc.cli.options import HELP, AsJson
from plc.errors import most_like

_SET, _CHOSEN = "--set", "plc.measurement"
_METAVAR = "NAME=VALUE"
_OF_ALL = ("as_json", "save", "settings", "help")
_WORDS = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}

Save = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write the numbers to a file, too, as JSON.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option(_SET, metavar=_METAVAR, help="A setting, as listed below; may be repeated."),
]


def add_measurement(app: typer.Typer, function: Callable[..., None], *options: str) -> None:
    """Add a command of one measurement.

    Parameters
    ----------
    app : Typer, where it goes
    function : callable
        The measurement; its name is the command's.
    *options : str
        Names of parameters that stay options, beside ``--json`` and ``--save``.
    """

    class Measurement(TyperCommand):
        def __init__(self, *arguments: Any, **given: Any) -> None:
            super().__init__(*arguments, **given)
            self.settings = _settings_of(self, options)
            for setting in self.settings.values():
                setting.hidden = True
            self.epilog = f"[bold]Settings[/bold]\n\n{_listed(self.settings)}"

        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            if {"-h", "--help"} & set(args):
                return super().parse_args(ctx, ["--help"])
            given, others = _split(args)
            for word in others:
                name = word.partition("=")[0].removeprefix("--")
                if word.startswith("--") and name in self.settings:
                    raise typer.BadParameter(f"it is a setting: {_SET} {name}=VALUE", ctx)
            return super().parse_args(ctx, [*_as_options(self.settings, given), *others])

    def run(*, settings: Settings = None, **given: Any) -> None:
        function(**given)

    its = [
        each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for each in inspect.signature(function, eval_str=True).parameters.values()
    ]
    its.append(inspect.signature(run).parameters["settings"])
    describe(run, function.__doc__, its)
    app.command(function.__name__, cls=Measurement, context_settings=HELP)(run)


def add_question(app: typer.Typer, name: str, said: str, **modes: Callable[..., None]) -> None:
    """Add a command of several measurements; its first word says which.

    Parameters
    ----------
    app : Typer, where it goes
    name : str, what it is called
    said : str, its help
    **modes : callable
        The measurements that it runs, by name; ``_`` stands for ``-``.
    """
    table = {mode.replace("_", "-"): _command_of(each) for mode, each in modes.items()}

    class Question(TyperCommand):
        modes = table
        """The measurements by name, as commands of their own."""

        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            if args[:1] and args[0] in table:
                ctx.meta[_CHOSEN] = args
                return []
            return super().parse_args(ctx, args)

        def invoke(self, ctx: Any) -> Any:
            if _CHOSEN not in ctx.meta:
                return super().invoke(ctx)
            mode, *words = ctx.meta.pop(_CHOSEN)
            path = f"{ctx.info_name} {mode}"
            with table[mode].make_context(path, words, parent=ctx.parent) as inner:
                return table[mode].invoke(inner)

    def run(
        mode: Annotated[
            str,
            typer.Argument(metavar="WHAT", help="One of those below; WHAT --help says more."),
        ],
        sources: Annotated[
            list[Path] | None, typer.Argument(help="What it works on, such as clips.")
        ] = None,
        settings: Settings = None,
        as_json: AsJson = False,
        save: Save = None,
    ) -> None:
        known = f"{', '.join(table)}{most_like(mode, [*table])}"
        raise typer.BadParameter(f"{mode!r} is none, or does not stand first; known: {known}")

    printed = {each.name for command in table.values() for each in command.params}
    its = inspect.signature(run).parameters.values()
    given = [each for each in its if each.name not in ("as_json", "save") or each.name in printed]
    describe(run, said, given)
    lines = [
        f"[bold]{mode}[/bold]  {each.help.partition(chr(10))[0]}" for mode, each in table.items()
    ]
    app.command(name, cls=Question, epilog="\n\n".join(lines))(run)


def describe(run: Any, said: str | None, parameters: Sequence[inspect.Parameter]) -> None:
    """Give a callable the parameters and the help that typer reads."""
    run.__doc__ = said
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    run.__signature__ = inspect.Signature(parameters)


def _command_of(function: Callable[..., None]) -> Any:
    app = typer.Typer(add_completion=False, context_settings=HELP)
    add_measurement(app, function)
    return get_command(app)


def _settings_of(command: Any, options: Sequence[str] = ()) -> dict[str, Any]:
    """Return the options of a command that are settings, by their names."""
    return {
        each.opts[0].removeprefix("--"): each
        for each in command.params
        if each.param_type_name == "option" and each.name not in (*options, *_OF_ALL)
    }


def _split(args: list[str]) -> tuple[list[str], list[str]]:
    """Return the values of ``--set`` and the other words; all behind ``--`` are others."""
    given: list[str] = []
    others: list[str] = []
    words = iter(args)
    for word in words:
        if word == "--":
            others += [word, *words]
        elif word == _SET:
            given.append(next(words, ""))
        elif word.startswith(f"{_SET}="):
            given.append(word.removeprefix(f"{_SET}="))
        else:
            others.append(word)
    return given, others


def _as_options(settings: dict[str, Any], given: Sequence[str]) -> list[str]:
    """Return settings as options; raise BadParameter if one is unknown or missing."""
    line: list[str] = []
    names = {text.partition("=")[0].strip() for text in given}
    if missing := [name for name, each in settings.items() if each.required and name not in names]:
        wanted = " ".join(f"{_SET} {name}={settings[name].metavar or 'VALUE'}" for name in missing)
        raise typer.BadParameter(f"missing: {wanted}", param_hint=_SET)
    for text in given:
        name, equals, value = text.partition("=")
        name = name.strip().replace("_", "-")
        if not equals or name not in settings:
            known = f"known: {', '.join(settings) or 'none'}{most_like(name, [*settings])}"
            raise typer.BadParameter(f"{text!r} is no {_METAVAR}; {known}", param_hint=_SET)
        option = settings[name]
        if not option.is_flag:
            line.append(f"{option.opts[0]}={value}")
        elif value.lower() not in _WORDS:
            raise typer.BadParameter(f"{name} is yes or no, not {value!r}", param_hint=_SET)
        elif _WORDS[value.lower()]:
            line.append(option.opts[0])
        else:
            line += option.secondary_opts[:1]
    return line


def _listed(settings: dict[str, Any]) -> str:
    """Return each setting: name, default, meaning."""
    lines = []
    for name, option in settings.items():
        value = ("yes" if option.default else "no") if option.is_flag else option.default
        shown = "…" if value in (None, "") or callable(value) else value
        lines.append(f"[cyan]{name}={shown}[/cyan] {(option.help or '').rstrip('.')}")
    return "; ".join(lines)
