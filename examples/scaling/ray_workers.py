"""The same with actors of Ray: placed on a cluster, watched, and one of them killed.

Without ``--address`` a cluster is started on this machine. On several, ``--folder`` names one that
all machines share, and each has this package installed.
"""

from pathlib import Path
from typing import Any

import ray
from keeper import GoneError, parsed, run
from ray.exceptions import RayError
from streams import Played, Tick, Worker

# A call of Ray takes a millisecond or two, and at times much longer.
PATIENCE_S = 1.0


class Actor:
    """A worker as an actor; begins and waits until it is ready.

    Ray places it where a core is free, on another machine than its neighbours where it can. Ray
    also finds that its process or machine has died; that it hangs, ``patience_s`` does. It is not
    restarted by Ray: its streams have gone on elsewhere by then.

    Parameters
    ----------
    folder, key, settings
        As :class:`~streams.Worker` takes them.
    """

    def __init__(self, folder: Path, key: bytes, settings: dict[str, Any]) -> None:
        remote: Any = ray.remote(Worker)
        placed = remote.options(
            num_cpus=1, scheduling_strategy="SPREAD", max_restarts=0, max_task_retries=0
        )
        self._actor = placed.remote(folder, key, settings)
        ray.get(self._actor.__ray_ready__.remote())

    def ask(self, tick: Tick) -> None:
        """Send a tick, and have some streams published behind it."""
        self._answer = self._actor.play.remote(tick)
        self._actor.publish.remote()

    def answer(self) -> Played:
        """Return what the worker plays; raise :class:`~keeper.GoneError`."""
        try:
            played: Played = ray.get(self._answer, timeout=PATIENCE_S)
        except RayError as error:  # it has ended, does not answer, or failed
            raise GoneError from error
        return played

    def kill(self) -> None:
        """Kill the actor's process."""
        ray.kill(self._actor)


if __name__ == "__main__":
    given = parsed(__doc__.partition("\n")[0], "--address")
    # Modules of this folder go to all machines.
    ray.init(
        given.address or "local",
        num_cpus=None if given.address else given.workers,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"working_dir": str(Path(__file__).parent)},
    )
    run(given, Actor)
    ray.shutdown()
