"""How many examples property tests draw: few, or many with ``--hypothesis-profile=deep``."""

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
