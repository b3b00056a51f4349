import os
from pathlib import Path

from plc.apps.workers import ATTEMPTS, Failure, in_processes


def work(item: tuple[int, str]) -> int:
    """Square a number; of threes each attempt but the last ends its process."""
    number, folder = item
    if number == 2:
        raise ValueError("no twos")
    if number in (3, 4):
        tries = len(list(Path(folder).glob(f"{number}-*")))
        (Path(folder) / f"{number}-{tries}").touch()
        if number == 4 or tries < ATTEMPTS - 1:
            os._exit(1)
    return number**2


def test_a_process_that_ends_costs_its_item_an_attempt_and_others_nothing(tmp_path: Path) -> None:
    items = [(number, str(tmp_path)) for number in range(7)]
    told = list(in_processes(work, items, 2, lambda item: str(item[0])))
    assert len(told) == len(items)
    done = dict(told)
    assert [done[number] for number in (0, 1, 3, 5, 6)] == [0, 1, 9, 25, 36]
    assert done[2] == Failure("2", "ValueError: no twos")
    assert done[4] == Failure("4", "its process died")
    assert len(list(tmp_path.glob("4-*"))) == ATTEMPTS
