"""Options of a command, as its words."""


def options(**given: object) -> list[str]:
    """Return ``--name VALUE`` for each."""
    pairs = (("--" + name.replace("_", "-"), str(value)) for name, value in given.items())
    return [word for pair in pairs for word in pair]
