"""How many examples tests have: few, or with ``.ci/run --deep`` many."""

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import settings

_PROFILES = {"ci": 25, "deep": 100}


def register() -> None:
    """Register the profiles and load ``ci``."""
    for name, count in _PROFILES.items():
        # The first example of a property test may compile a kernel, which takes seconds.
        settings.register_profile(name, max_examples=count, deadline=None, derandomize=True)
    settings.load_profile("ci")


def is_deep() -> bool:
    """Return whether the long form of each test is asked for."""
    return settings.get_current_profile_name() == "deep"


def examples(count: int, few: int = _PROFILES["ci"]) -> settings:
    """Return settings that draw ``count`` examples in ``deep``, otherwise ``few`` at most."""
    return settings(max_examples=count if is_deep() else min(count, few))


def some(names: str, values: Iterable[Any], first: int = 1) -> pytest.MarkDecorator:
    """Return ``parametrize`` with the values, of which all behind the first ones are ``deep``."""
    several = "," in names
    given = [
        pytest.param(
            *(value if several else (value,)), marks=[pytest.mark.deep] if k >= first else []
        )
        for k, value in enumerate(values)
    ]
    return pytest.mark.parametrize(names, given)
