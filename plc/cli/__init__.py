"""The command line.

Options come in, one function is called, and its result is printed.
"""

from plc.cli.app import main

__all__ = ["main"]
