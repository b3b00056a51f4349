"""Add, remove and describe the streams of a running relay.

Whoever adds or removes a stream does so in a thread of its own: the sockets, the concealer and the
file are opened and closed here, while the relay goes on serving the others.
"""

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from plc.engine.runtime import standing
from plc.errors import ConfigError, NetworkError, PlcError, in_a_line
from plc.transport.relay.relay import Lane, Relay
from plc.transport.relay.relayed import RelayConfig
from plc.transport.rtp.udp import Endpoint

# A stream that leaves is played to its end: twice its largest delay at most, and the relay's turn.
_LEAVE_S = 15.0
# A relay that has not had a turn for this long hangs.
_TURN_MAX_S = 2.0
# A stream that has been heard within this time is not in an outage.
_HEARD_S = 2.0


class RelayKeeper:
    """Adds and removes streams of a running relay.

    Parameters
    ----------
    relay : Relay, the relay; another thread serves it
    begin, end : callable
        Called with a lane that was added, and with the name of one before it is removed.
    check : callable, raises PlcError where a stream must not be added
    clock : callable, returns seconds, by the clock of the relay's datagrams
    """

    def __init__(
        self,
        relay: Relay,
        begin: Callable[[Lane], None] = lambda _: None,
        end: Callable[[str], None] = lambda _: None,
        check: Callable[[RelayConfig], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._relay = relay
        self._begin = begin
        self._end = end
        self._check = check
        self._clock = clock
        self._one_at_a_time = threading.RLock()

    def add(self, config: RelayConfig) -> str:
        """Add a stream; return its name.

        Raises
        ------
        ConfigError
            If a stream of that name, or one into that file, is there.
        NetworkError
            If a port is taken, or a host not found.
        """
        with self._one_at_a_time:
            self._check(config)
            lane = self._relay.add(config)
            self._begin(lane)
            lane.joined.wait(_LEAVE_S)
            return lane.name

    def remove(self, name: str) -> dict[str, Any]:
        """Play a stream to its end and close it; return its counters.

        Raises
        ------
        ConfigError
            If there is none of that name.
        NetworkError
            If the relay does not let go of it.
        """
        with self._one_at_a_time:
            lanes = {lane.name: lane for lane in self._relay.lanes}
            if name not in lanes:
                there = ", ".join(lanes) or "no streams"
                raise ConfigError(f"there is no stream {name}; there are {there}")
            lane = lanes[name]
            self._end(name)
            self._relay.remove(lane)
            if not lane.left.wait(_LEAVE_S):
                raise NetworkError(f"{name} has not ended within {_LEAVE_S:g} s; it is still there")
            lane.close()
            return lane.report()

    def replace(self, configs: Sequence[RelayConfig]) -> dict[str, Any]:
        """Set the relay's streams; unchanged ones go on untouched.

        Returns
        -------
        dict
            Names by what became of them: ``added``, ``removed``, ``changed``, ``kept``; and
            ``failed``, with the reason of each.
        """
        done: dict[str, Any] = {"added": [], "removed": [], "changed": [], "kept": [], "failed": {}}
        with self._one_at_a_time:
            there = {lane.config.name or lane.name: lane for lane in self._relay.lanes}
            wanted = {config.name or str(config.listen): config for config in configs}
            for name, lane in there.items():
                if name not in wanted:
                    self._attempt(done, "removed", name, partial(self.remove, lane.name))
            for name, config in wanted.items():
                if name not in there:
                    self._attempt(done, "added", name, partial(self.add, config))
                elif there[name].config == config:
                    done["kept"].append(name)
                else:
                    swap = partial(self._swap, there[name], config)
                    self._attempt(done, "changed", name, swap)
        return done

    def _swap(self, lane: Lane, config: RelayConfig) -> None:
        """Put a stream in another's place; check first, and refuse before a change."""
        old = lane.config
        if not isinstance(config.to, Endpoint):
            if not isinstance(old.to, Endpoint) and old.to.places & config.to.places:
                raise ConfigError(
                    f"{config.to} holds the recording so far; give another file (the stream goes "
                    "on as it was)"
                )
            self._check(config)
        self.remove(lane.name)
        try:
            self.add(config)
        except PlcError:
            if isinstance(old.to, Endpoint):  # a file is closed
                self.add(old)
            raise

    @staticmethod
    def _attempt(done: dict[str, Any], what: str, name: str, work: Callable[[], object]) -> None:
        try:
            work()
        except PlcError as error:
            done["failed"][name] = in_a_line(error)
        else:
            done[what].append(name)

    # ---- how they are ---------------------------------------------------------------------------

    def listing(self) -> list[dict[str, Any]]:
        """Return the name, ends, state and main counters of each stream."""
        return [
            {
                "name": lane.name,
                "listen": [str(port.endpoint) for port in lane.ports],
                "to": str(lane.config.to),
                "codec": lane.config.receiver.codec,
                "state": state_of(lane, self._clock()),
                "packets_received": lane.stream.playout.received.packets_received,
                "lost_packets": lane.stream.playout.received.lost_packets,
                "packets_sent": lane.stream.stats.packets_sent,
            }
            for lane in self._relay.lanes
        ]

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Return whether the relay works, and the states of its streams.

        A stream that nobody sends is no fault of the relay's.
        """
        problems = standing.problems()
        idle_s = time.monotonic() - self._relay.turned_s
        if idle_s > _TURN_MAX_S:
            problems.append(f"the relay has not had a turn for {idle_s:.1f} s")
        lanes = self._relay.lanes
        problems += [f"{lane.name}: {lane.error}" for lane in lanes if lane.error]
        states = {lane.name: state_of(lane, self._clock()) for lane in lanes}
        status = "failing" if problems else "ok"
        said = {"status": status, "streams": states, "problems": problems}
        faults = standing.faults()
        return not problems, said | ({"faults": faults} if faults else {})


def state_of(lane: Lane, now_s: float) -> str:
    """Return how a stream is: ``waiting``, ``playing``, ``outage`` or ``ending``."""
    if lane.stopped:
        return "ending"
    if not lane.stream.playout.buffer.receiver.begun:
        return "waiting"
    return "playing" if now_s - lane.stream.heard_s < _HEARD_S else "outage"
