"""The number of forks behind this process; threads stay with the parent."""

import os

generation = 0
"""Forks between the process that imported this module and the current one.

What is made here and needs a thread, or a lock that one may hold, remembers it and compares: in
another generation it is a copy whose thread does not exist.
"""


def _begin_child() -> None:
    global generation
    generation += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_child)
