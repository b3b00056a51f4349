"""The work of :mod:`plc.files.parallel`, spread over a Ray cluster.

Each item becomes a task of one core. A task whose process or machine dies is tried again elsewhere,
twice, and then fails by itself. Files are read and written where a task runs: their names must be
the same on all machines (a shared folder, or a bucket), and this package installed there, in the
same version.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from plc import notice
from plc.errors import ConfigError
from plc.extras import needed
from plc.files.parallel import ATTEMPTS, Failure, attempt, in_processes

LOCAL = "local"
RETRIES = ATTEMPTS - 1

_T = TypeVar("_T")
_Item = TypeVar("_Item")


def as_done_on(
    address: str | None,
    work: Callable[[_Item], _T],
    items: Sequence[_Item],
    jobs: int,
    name: Callable[[_Item], str],
) -> Iterator[tuple[int, _T | Failure]]:
    """Yield each item's number and result, or failure, as it finishes.

    Parameters
    ----------
    address : str
        Of a cluster's head, such as ``ray://head:10001`` or ``auto``; :data:`LOCAL` starts one of
        ``jobs`` cores on this machine, and ends it; None: processes of this machine do the work.
    work, items, name
        As :func:`plc.files.parallel.as_done` takes them.
    jobs : int
        Cores of a started cluster; a running cluster has its own.

    Raises
    ------
    ConfigError
        If there is no cluster at the address.
    MissingExtraError
        If Ray is not installed.
    """
    if address is None:
        yield from in_processes(work, items, jobs, name)
    if address is None or not items:
        return
    ray = _connected(address, jobs)
    try:
        yield from _tasks(ray, work, items, name)
    finally:
        ray.shutdown()


def _connected(address: str, jobs: int) -> Any:
    with needed("--ray needs Ray", "scale"):
        import ray
    options: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    if address == LOCAL:
        # Ray's object store holds scores here; its default is a third of the memory.
        options |= {"num_cpus": jobs, "include_dashboard": False, "object_store_memory": 1 << 27}
    else:
        options["address"] = address
    try:
        ray.init(**options)
    # Another exception for each way in which a cluster is not there: ConnectionError, ValueError,
    # RuntimeError, gRPC's.
    except Exception as error:
        said = str(error).strip().splitlines()
        raise ConfigError(
            f"no Ray cluster at {address}: {said[0] if said else type(error).__name__}; give the "
            f"address of its head, auto, or {LOCAL}"
        ) from error
    return ray


def _tasks(
    ray: Any, work: Callable[[_Item], _T], items: Sequence[_Item], name: Callable[[_Item], str]
) -> Iterator[tuple[int, _T | Failure]]:
    task = ray.remote(num_cpus=1, max_retries=RETRIES)(_noted)
    shared = ray.put(work)
    numbers = {task.remote(shared, item, name(item)): n for n, item in enumerate(items)}
    while numbers:
        for done in ray.wait(list(numbers), num_returns=1)[0]:
            number = numbers.pop(done)
            try:
                answer, lines = ray.get(done)
                for line in lines:
                    notice.pass_on(name(items[number]), line)
                yield number, answer
            except ray.exceptions.RayError as error:
                reason = f"its process died: {type(error).__name__}"
                yield number, Failure(name(items[number]), reason)


def _noted(work: Callable[[_Item], _T], item: _Item, name: str) -> tuple[_T | Failure, list[str]]:
    """Return, as a task, an item's result and the notices given meanwhile."""
    lines: list[str] = []
    notice.listener = lines.append
    return attempt(work, item, name), lines
