"""Settings of measurements, and commands of several of them."""

from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner, Result

from plc.cli.options import AsJson
from plc.cli.settings import Save, add_measurement, add_question

Runs = Annotated[int, typer.Option(min=1, help="How often.")]


def length(
    source: Annotated[str, typer.Argument()],
    mode: Annotated[str, typer.Option(help="Which way.")] = "fast",
    runs: Runs = 3,
    collector: Annotated[bool, typer.Option("--gc", help="Leave it on.")] = False,
    paced: Annotated[bool, typer.Option("--paced/--as-fast", help="In time.")] = True,
    names: Annotated[list[str] | None, typer.Option(help="May repeat.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure a length.

    bench length a.wav
    """
    typer.echo(f"{source} {mode} {runs} {collector} {paced} {names} {as_json}")


def width(data: Annotated[str, typer.Option(help="Needed.")], save: Save = None) -> None:
    """Measure a width."""
    typer.echo(f"{data} {save}")


app = typer.Typer()
add_measurement(app, length, "mode")
add_question(app, "size", "Measure a size.", length=length, full_width=width)


def said(*words: str) -> Result:
    return CliRunner().invoke(app, words)


def refused(*words: str) -> str:
    result = said(*words)
    assert result.exit_code == 2
    return " ".join(result.output.replace("│", " ").split())


@pytest.mark.parametrize("command", [["length"], ["size", "length"]])
def test_settings_are_options_by_another_way(command: list[str]) -> None:
    assert said(*command, "a").stdout == "a fast 3 False True None False\n"
    given = ["--set", "runs=5", "--set=gc=yes", "--set", "paced=no", "--json"]
    assert said(*command, "a", *given).stdout == "a fast 5 True False None True\n"
    named = ["--set", "names=x=1", "--set", "names=y"]
    assert said(*command, *named, "a").stdout == "a fast 3 False True ['x=1', 'y'] False\n"


def test_an_option_of_a_measurement_is_a_setting_where_it_is_one_of_several() -> None:
    assert said("length", "a", "--mode", "slow").stdout.startswith("a slow")
    assert said("size", "length", "a", "--set", "mode=slow").stdout.startswith("a slow")
    assert "it is a setting: --set mode=VALUE" in refused("size", "length", "a", "--mode", "slow")
    assert "it is a setting: --set runs=VALUE" in refused("length", "a", "--runs=4")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("runs=0", "should be greater than or equal to 1"),
        ("runs", "'runs' is no NAME=VALUE"),
        ("rums=4", "did you mean 'runs'?"),
        ("gc=perhaps", "gc is yes or no, not 'perhaps'"),
        ("", "is no NAME=VALUE; known: runs, gc, paced, names"),
    ],
)
def test_a_wrong_setting_is_refused(given: str, why: str) -> None:
    assert why in refused("length", "a", "--set", given)


def test_what_is_behind_two_dashes_is_no_setting() -> None:
    assert said("length", "--", "--set").stdout.startswith("--set fast")


def test_a_setting_that_is_needed_is_asked_for() -> None:
    assert "missing: --set data=VALUE" in refused("size", "full-width")
    given = ["--set", "data=x", "--save", "kept.json"]
    assert said("size", "full-width", *given).stdout == "x kept.json\n"


def test_an_unknown_measurement_is_named_with_those_there_are() -> None:
    text = refused("size", "lenght")
    assert "known: length, full-width; did you mean 'length'?" in text
    assert "Missing argument" in refused("size")


def test_help_lists_settings_and_measurements() -> None:
    whole = " ".join(said("size", "--help").stdout.split())
    assert "length Measure a length." in whole
    assert "full-width Measure a width." in whole
    one = " ".join(said("size", "length", "-h").stdout.split())
    assert "Usage: root size length [OPTIONS] {source}" in one
    assert "bench length a.wav" in one
    assert "mode=fast Which way; runs=3 How often; gc=no Leave it on; paced=yes In time" in one
    assert "--runs" not in one
