"""What every command of ``plc`` has in common."""

import re
from typing import Any

import pytest
from typer.testing import CliRunner

from plc.programs.cli import app as plc_cli
from plc_bench import cli as bench_cli
from tests.attack.test_command_line import PASSED_ON, commands
from tests.options import ran
from tests.plc.programs.cli.test_app import in_a_process

COMMANDS = {
    **{f"plc {name}": each for name, each in commands(plc_cli.app).items()},
    **{f"plc bench {name}": each for name, each in commands(bench_cli.app).items()},
}
GROUPS = ["plc", "plc c", "plc gstreamer", "plc bench"]


def help_of(name: str, option: str) -> Any:
    words = name.split()[1:]
    if words[:1] == ["bench"]:
        return CliRunner().invoke(bench_cli.app, [*words[1:], option])
    return CliRunner().invoke(plc_cli.app, [*words, option])


def test_h_is_help_everywhere() -> None:
    for name in (*GROUPS, *(n for n in COMMANDS if n[4:] not in PASSED_ON)):
        short, long = help_of(name, "-h"), help_of(name, "--help")
        assert short.exit_code == long.exit_code == 0, name
        assert short.output == long.output, name
        assert "Usage: " in short.output


WITH_EXAMPLES = [n for n in COMMANDS if n.count(" ") == 1 and n[4:] not in {*PASSED_ON, "devices"}]


def test_help_has_examples() -> None:
    for name in WITH_EXAMPLES:
        assert f"\n {name} " in help_of(name, "-h").output.partition("Examples")[2], name


def test_help_says_every_impairment_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = help_of("plc live", "-h").output.partition("--impair")[2].partition("--trace")[0]
    names = "loss reorder duplicate burst delay jitter reorder_by queue rate in_order"
    assert set(names.split()) <= set(re.findall(r"\w+", text))
    assert "…" not in text


@pytest.mark.parametrize("name", sorted(PASSED_ON))
def test_h_reaches_the_commands_of_other_packages(name: str) -> None:
    if name != "bench":
        pytest.importorskip("torch")
    result = ran(plc_cli.app, name, "-h")
    assert f"Usage: plc {name}" in result.output


def json_option(command: Any) -> Any:
    return next((each for each in command.params if "--json" in each.opts), None)


def test_json_means_the_same_in_all_commands() -> None:
    having = {name: json_option(command) for name, command in COMMANDS.items()}
    having = {name: option for name, option in having.items() if option is not None}
    assert {"plc conceal", "plc live", "plc bench quality", "plc bench streams server"} <= set(
        having
    )
    for name, option in having.items():
        assert option.is_flag, name
        assert option.help == "Print the result as JSON.", name


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("plc inp", {"inpaint"}),
        ("plc conceal --looka", {"--lookahead"}),
        ("plc c bu", {"build"}),
        ("plc bench str", {"streams"}),
        ("plc bench quality --met", {"--methods", "--metrics"}),
        ("plc train --acc", {"--accelerator"}),
        ("plc demo --no-such", set()),
    ],
)
def test_shells_complete_commands_and_options(line: str, offered: set[str]) -> None:
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
    answer = CliRunner().invoke(
        plc_cli.app, prog_name="plc", env=words | {"_PLC_COMPLETE": "complete_bash"}
    )
    assert set(answer.stdout.split()) == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_asks_the_command(
    shell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_PLC_COMPLETE", f"source_{shell}")
    assert f"complete_{shell}" in in_a_process().stdout
