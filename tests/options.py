"""Commands in this process, and their options as words."""

import typer
from typer.testing import CliRunner, Result


def options(**given: object) -> list[str]:
    """Return ``--name VALUE`` for each."""
    pairs = (("--" + name.replace("_", "-"), str(value)) for name, value in given.items())
    return [word for pair in pairs for word in pair]


def ran(app: typer.Typer, *words: object, status: int = 0) -> Result:
    """Run a command; return what it said once its exit status is this one."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == status, result.output
    return result
