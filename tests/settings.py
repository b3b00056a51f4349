"""Settings of a measurement, as words of a command."""


def settings(**given: object) -> list[str]:
    """Return ``--set NAME=VALUE`` for each."""
    pairs = (f"{name.replace('_', '-')}={value}" for name, value in given.items())
    return [word for pair in pairs for word in ("--set", pair)]
