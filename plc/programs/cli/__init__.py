"""The command line.

Options come in, one function is called, and its result is printed.
"""

from plc.ending import by_signals

__all__ = ["main"]


def main() -> None:
    """Run the command, from here on ended by signals."""
    with by_signals():
        from plc.programs.cli.app import main as run

        run()
