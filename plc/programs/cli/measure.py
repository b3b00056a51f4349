"""Commands that other packages run: ``plc bench``, ``plc train`` and ``plc export``."""

from typing import Any

import typer
from typer.main import get_command

from plc.errors import MissingExtraError
from plc.extras import install_command


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    settings = {"allow_extra_args": True, "ignore_unknown_options": True}
    for command in (bench, train, export):
        app.command(
            rich_help_panel="Measure and train", add_help_option=False, context_settings=settings
        )(command)


def bench(ctx: typer.Context) -> None:
    """Measure quality and latency; plc bench --help lists the commands."""
    _benchmark(ctx.args)


def _benchmark(arguments: list[str]) -> None:
    try:
        from plc_bench.cli import app as bench_app
    except ImportError as error:
        raise MissingExtraError(
            f"plc bench needs {error.name}: {install_command('bench')}"
        ) from error
    status = bench_app(args=arguments, prog_name="plc bench", standalone_mode=False)
    if isinstance(status, int) and status:
        raise typer.Exit(status)


def train(ctx: typer.Context) -> None:
    """Train a network as a recipe says; plc train --help says how."""
    _training("train", ctx.args)


def export(ctx: typer.Context) -> None:
    """Write a trained network as a model; plc export --help says how."""
    _training("export", ctx.args)


def _training(command: str, arguments: list[str]) -> None:
    try:
        from plc_training.cli import app as training_app

        status = training_app(args=[command, *arguments], prog_name="plc", standalone_mode=False)
    except MissingExtraError:
        raise
    except ImportError as error:
        raise MissingExtraError(
            f"plc {command} needs {error.name}: {install_command('cpu', 'train')}"
        ) from error
    if isinstance(status, int) and status:
        raise typer.Exit(status)


def of_another_package(name: str) -> Any:
    """Return a command of another package itself, as a shell completes it."""
    if name == "bench":
        from plc_bench.cli import app as bench_app

        return get_command(bench_app)
    from plc_training.cli import app as training_app

    group: Any = get_command(training_app)
    return group.commands[name]
