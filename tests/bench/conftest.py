"""Shared by the tests of bench."""

import pytest


@pytest.fixture(autouse=True)
def one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have commands score clips in this process."""
    monkeypatch.setattr("plc_bench.cli.options.usable_cores", lambda: 1)
