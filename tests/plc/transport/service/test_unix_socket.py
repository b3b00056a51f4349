"""Sockets of servers: for their user alone, one server at a path."""

import socket
import stat
from pathlib import Path

import pytest

from plc.errors import NetworkError
from plc.transport.service.unix_socket import listen_at

if not hasattr(socket, "AF_UNIX"):
    pytest.skip("there are no Unix sockets", allow_module_level=True)


def test_the_socket_is_for_its_owner_alone(tmp_path: Path) -> None:
    with listen_at(tmp_path / "s"):
        assert stat.S_IMODE((tmp_path / "s").lstat().st_mode) == 0o600


def test_what_is_no_socket_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "letter"
    path.write_text("dear")
    with pytest.raises(NetworkError, match="is not a socket"):
        listen_at(path)
    assert path.read_text() == "dear"


def test_a_second_server_at_one_path_is_refused(tmp_path: Path) -> None:
    with listen_at(tmp_path / "s") as first:
        with pytest.raises(NetworkError, match="another server listens"):
            listen_at(tmp_path / "s")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(first.getsockname())


def test_a_socket_that_a_dead_server_left_is_replaced(tmp_path: Path) -> None:
    listen_at(tmp_path / "s").close()
    assert (tmp_path / "s").exists()
    with (
        listen_at(tmp_path / "s"),
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client,
    ):
        client.connect(str(tmp_path / "s"))


def test_a_path_that_no_socket_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="take a short path"):
        listen_at(tmp_path / ("long" * 40))
    with pytest.raises(NetworkError, match="No such file"):
        listen_at(tmp_path / "no" / "folder")
