"""How many examples property tests draw: few, or many with ``--hypothesis-profile=deep``."""

from hypothesis import settings

_PROFILES = {"ci": 25, "deep": 100}


def register() -> None:
    """Register the profiles and load ``ci``."""
    for name, count in _PROFILES.items():
        # The first example of a property test may compile a kernel, which takes seconds.
        settings.register_profile(name, max_examples=count, deadline=None, derandomize=True)
    settings.load_profile("ci")


def examples(count: int) -> settings:
    """Return settings that draw ``count`` examples in ``deep``, and few in ``ci``."""
    if settings.get_current_profile_name() == "deep":
        return settings(max_examples=count)
    return settings(max_examples=min(count, _PROFILES["ci"]))
