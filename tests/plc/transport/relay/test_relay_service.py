"""The unit of ``examples/relay`` under a systemd of the test's own.

systemd starts as the first process of new namespaces, with file systems of its own in place of all
that it or the unit writes to, and without what a machine's start consists of otherwise; nothing of
this machine's is changed.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.plc.transport.relay.served_relay import (
    comes_true,
    free_port,
    health,
    send,
    sent_and_heard,
    stream,
)
from tests.processes import ROOT

UNITS = sorted((ROOT / "examples" / "relay").glob("plc-relay*.service"))
SYSTEMD = Path("/lib/systemd/systemd")
# Python, its packages and the checkout stand where a service may read: it sees no home and no /tmp.
BOOT = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir /run/given
mount --bind "$1" /run/given
while read -r from to; do  # before what is mounted next hides where they come from
  mkdir -p "/run/from$to"
  mount --bind "$from" "/run/from$to"
done </run/given/folders
for folder in opt var/cache var/tmp tmp; do mount -t tmpfs tmpfs /$folder; done
for wanted in /usr/lib/systemd/system/*.wants /etc/systemd/system/*.wants; do
  mount -t tmpfs tmpfs "$wanted"  # nothing of a machine's start runs here
done
mkdir -p /run/etc/upper /run/etc/work /run/systemd/system /opt/plc/bin
mount -t overlay -o lowerdir=/etc,upperdir=/run/etc/upper,workdir=/run/etc/work overlay /etc
mkdir -p /etc/plc /etc/systemd/system/plc-relay.service.d
while read -r from to; do
  mkdir -p "$to"
  mount --bind "/run/from$to" "$to"
done </run/given/folders
cp /run/given/relay.toml /etc/plc/relay.toml
cp /run/given/plc /opt/plc/bin/plc
cp /run/given/plc-relay*.service /etc/systemd/system/
cp /run/given/short.conf /etc/systemd/system/plc-relay.service.d/
printf '[Unit]\\nDescription=Trial\\n' >/run/systemd/system/trial.target
mount -t proc proc /proc
mount -t tmpfs tmpfs /sys/fs/cgroup
mkdir /sys/fs/cgroup/systemd
mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
export container=trial
exec /lib/systemd/systemd --system --unit=trial.target --show-status=no --log-target=null
"""
_NEEDS = (
    pytest.mark.deep,
    pytest.mark.system,
    pytest.mark.skipif(not SYSTEMD.exists(), reason="systemd is not installed"),
    pytest.mark.skipif(shutil.which("nsenter") is None, reason="nsenter is not installed"),
    pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root"),
)


def under_systemd(test: Callable[[Path], None]) -> Callable[[Path], None]:
    """Mark a test that boots a systemd of its own, where that is possible."""
    for mark in _NEEDS:
        test = mark(test)
    return test


# A hung relay is noticed and ended sooner than by default, so that the test is shorter.
SHORT = """
[Service]
WatchdogSec=5
TimeoutAbortSec=3
StandardOutput=append:/var/cache/relay.log
StandardError=append:/var/cache/relay.log
"""
PROGRAM = """#!/bin/sh
export LD_LIBRARY_PATH=/opt/python/lib
export PYTHONPATH=/opt/source:/opt/source/kernels:/opt/packages
exec /opt/python/bin/{python} -m plc "$@"
"""


@dataclass(frozen=True, slots=True)
class Booted:
    """A systemd, by the process that starts its namespaces."""

    process: subprocess.Popen[bytes]

    def inside(self, *command: str, check: bool = True) -> str:
        """Return what a command prints in the namespaces of this systemd."""
        [child] = (
            Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        )
        done = subprocess.run(
            ["nsenter", "--target", child, "--mount", "--pid", *command],
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert not check or done.returncode == 0, done.stderr + self.log()
        return done.stdout.strip()

    def log(self) -> str:
        return self.inside("tail", "-n", "30", "/var/cache/relay.log", check=False)

    def is_there(self) -> bool:
        try:
            return self.inside("systemctl", "is-system-running", check=False) == "running"
        except (ValueError, OSError):  # its first process has not begun
            return False

    def of_unit(self, name: str, unit: str = "plc-relay") -> str:
        return self.inside("systemctl", "show", unit, "--property", name, "--value")

    def write(self, path: str, text: str) -> None:
        self.inside("sh", "-c", 'printf %s "$1" >"$2"', "sh", text, path)


@contextmanager
def booted(folder: Path, relay_file: str) -> Iterator[Booted]:
    """Start systemd with the unit and a file of streams; end it with all its services."""
    python = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    (folder / "folders").write_text(
        f"{ROOT} /opt/source\n{Path(np.__file__).parents[1]} /opt/packages\n"
        f"{sys.base_prefix} /opt/python\n"
    )
    (folder / "relay.toml").write_text(relay_file)
    program = folder / "plc"
    program.write_text(PROGRAM.format(python=python.name))
    program.chmod(0o755)
    for unit in UNITS:
        shutil.copy(unit, folder)
    (folder / "short.conf").write_text(SHORT)
    spaces = ["unshare", "--mount", "--pid", "--fork", "--cgroup", "--ipc", "--uts", "--kill-child"]
    tried = "mount -t tmpfs tmpfs /mnt && mount -t cgroup -o none,name=systemd cgroup /mnt"
    if subprocess.run([*spaces, "sh", "-c", tried], check=False).returncode:
        pytest.skip("no namespaces with file systems and control groups of their own are allowed")
    process = subprocess.Popen([*spaces, "bash", "-c", BOOT, "boot", folder])
    system = Booted(process)
    try:
        assert comes_true(lambda: process.poll() is not None or system.is_there())
        assert process.poll() is None
        yield system
    finally:
        process.kill()
        process.wait()


@under_systemd
def test_systemd_runs_the_unit_reloads_it_and_starts_it_again(tmp_path: Path) -> None:
    web = free_port(socket.SOCK_STREAM)
    first, second = [(free_port(), free_port()) for _ in range(2)]
    head = f'metrics = "127.0.0.1:{web}"\ncontrol = "/run/plc/relay.sock"\n'
    with booted(tmp_path, head + stream("first", *first)) as system:
        system.inside("systemctl", "start", "plc-relay")  # returns when it says that it is ready
        assert health(web) == 200
        assert system.of_unit("ActiveState") == "active"
        assert system.inside("stat", "-c", "%U", f"/proc/{system.of_unit('MainPID')}") != "root"
        assert sent_and_heard(*first) >= 40

        system.write(
            "/etc/plc/relay.toml", head + stream("first", *first) + stream("second", *second)
        )
        system.inside("systemctl", "reload", "plc-relay")
        assert comes_true(lambda: sent_and_heard(*second, packets=30) >= 10, within_s=60.0)

        def again(pid: str) -> bool:
            return (
                system.of_unit("ActiveState") == "active"
                and system.of_unit("MainPID") != pid
                and health(web) == 200
            )

        for signal, result in (("KILL", "killed"), ("STOP", "hung")):
            pid = system.of_unit("MainPID")
            began = int(system.of_unit("NRestarts"))
            system.inside(
                "systemctl", "kill", "--kill-whom=main", f"--signal={signal}", "plc-relay"
            )
            assert comes_true(partial(again, pid), within_s=120.0), result + system.log()
            assert int(system.of_unit("NRestarts")) == began + 1
            assert sent_and_heard(*first, ssrc=8 + began) >= 40

        assert "kernels are not kept" not in system.inside("cat", "/var/cache/relay.log")
        started_s = time.monotonic()
        system.inside("systemctl", "stop", "plc-relay")
        assert time.monotonic() - started_s < 20.0
        assert (system.of_unit("ActiveState"), system.of_unit("Result")) == ("inactive", "success")
        assert health(web) == 0


@under_systemd
def test_two_of_the_template_unit_share_a_port(tmp_path: Path) -> None:
    ports = [free_port(socket.SOCK_STREAM) for _ in range(2)]
    listen, to = free_port(), free_port()
    file = "[defaults]\nshare_port = true\n" + stream("a", listen, to)
    with booted(tmp_path, file) as system:
        units = [f"plc-relay@{port}" for port in ports]
        system.inside("systemctl", "start", *units)
        processes = [system.of_unit("MainPID", unit) for unit in units]
        users = {system.inside("stat", "-c", "%U", f"/proc/{process}") for process in processes}
        assert users == {"plc-relay"}
        for port in ports:
            assert health(port) == 200
            system.inside("test", "-S", f"/run/plc-{port}/relay.sock")

        def all_receive() -> bool:  # a sender each, which the kernel deals to the one or the other
            send(listen, 20)
            return all(received(port) > 0.0 for port in ports)

        assert comes_true(all_receive)


def received(port: int) -> float:
    """Return the packets that a relay has received, by its metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30.0) as page:
        found = re.search(r"^plc_packets_received_total\{.*\} (.*)$", page.read().decode(), re.M)
    return float(found[1]) if found is not None else 0.0
