"""Tell systemd how the service is (sd_notify(3)), where systemd has started it.

A datagram to the socket that ``NOTIFY_SOCKET`` names; without one nothing is told. A service of
``Type=notify`` counts as started once it is ready.
"""

import os
import socket
import time


def notify(*states: str) -> bool:
    """Send states, such as ``READY=1``; return whether they were taken."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address or not hasattr(socket, "AF_UNIX"):
        return False
    if address.startswith("@"):  # a name without a file (unix(7))
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.connect(address)
            sender.send("\n".join(states).encode())
    except OSError:
        return False
    return True


def reloading() -> bool:
    """Tell systemd that settings are read again, until the next ``READY=1``."""
    now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000 if os.name == "posix" else 0
    return notify("RELOADING=1", f"MONOTONIC_USEC={now_us}")
