"""Who connects to the metrics, and how: nothing of it may reach what plays."""

import contextlib
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from plc.transport.metrics import Exporter, Metric, Sample, metrics_endpoint
from plc.transport.rtp.udp import Endpoint
from plc.transport.service.page_server import (
    CONNECTIONS_MAX,
    LIMIT_S,
    REQUEST_BYTES_MAX,
    PageServer,
)

pytest.importorskip("prometheus_client")

WITHIN_S = 20.0

ANSWER = Metric("answer", float, "of all")


@pytest.fixture
def exporter() -> Iterator[Exporter]:
    with closing(Exporter("127.0.0.1:0")) as opened:
        yield opened


def connected(exporter: Exporter) -> socket.socket:
    return socket.create_connection(("127.0.0.1", exporter.endpoint.port), timeout=WITHIN_S)


def answer(exporter: Exporter, request: bytes) -> bytes:
    """Return all that comes back until the connection is closed."""
    with connected(exporter) as link:
        link.sendall(request)
        pieces = []
        with contextlib.suppress(ConnectionResetError):
            while piece := link.recv(65_536):
                pieces.append(piece)
    return b"".join(pieces)


def scrape(exporter: Exporter, accept: str = "") -> tuple[str, str]:
    request = urllib.request.Request(exporter.url, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=WITHIN_S) as reply:
        return reply.headers["Content-Type"], reply.read().decode()


@pytest.mark.parametrize("address", [":9464", "9464"])
def test_a_port_alone_is_one_of_this_machine_only(address: str) -> None:
    assert metrics_endpoint(address) == Endpoint("127.0.0.1", 9464)


def test_many_idle_connections_hold_neither_threads_nor_places(exporter: Exporter) -> None:
    threads = threading.active_count()
    exporter.add("a", lambda: [Sample(ANSWER, ("a",), 42.0)])
    with ExitStack() as held:
        for _ in range(200):
            link = held.enter_context(socket.socket())
            link.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                link.connect(("127.0.0.1", exporter.endpoint.port))
        assert 'plc_answer_total{stream="a"} 42.0' in scrape(exporter)[1]
        assert threading.active_count() <= threads


def test_the_oldest_that_has_not_asked_gives_way(exporter: Exporter) -> None:
    with ExitStack() as held:
        links = [held.enter_context(connected(exporter)) for _ in range(CONNECTIONS_MAX)]
        for link in links:
            link.sendall(b"GET")
        time.sleep(0.5)  # all are taken in
        scrape(exporter)
        assert links[0].recv(1) == b""
        links[-1].sendall(b" /metrics HTTP/1.1\r\n\r\n")
        assert links[-1].recv(15) == b"HTTP/1.1 200 OK"


def test_who_asks_slowly_is_left_soon(exporter: Exporter) -> None:
    with connected(exporter) as link:
        link.sendall(b"GET /metr")
        begin_s = time.monotonic()
        assert link.recv(1) == b""
        assert 0.5 * LIMIT_S < time.monotonic() - begin_s < WITHIN_S


def test_who_does_not_take_the_answer_is_left_soon() -> None:
    page = b"x" * 30_000_000
    with (
        closing(
            PageServer(Endpoint("127.0.0.1", 0), {"/": lambda _: (200, "text/plain", page)})
        ) as server,
        socket.create_connection(("127.0.0.1", server.endpoint.port)) as link,
    ):
        link.sendall(b"GET / HTTP/1.1\r\n\r\n")
        time.sleep(2.0 * LIMIT_S)
        got = 0
        with contextlib.suppress(ConnectionResetError):
            while piece := link.recv(1 << 20):
                got += len(piece)
        assert got < len(page)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", b"200"),
        (b"HEAD /metrics HTTP/1.1\r\n\r\n", b"200"),
        (b"GET /metrics?a=b HTTP/1.1\r\nHost: a\r\n\r\n", b"200"),
        (b"GET /other HTTP/1.1\r\n\r\n", b"404"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"405"),
        (b"\xff\x00\r\n\r\n", b"405"),
        (b"\r\n\r\n", b"405"),
        (b"GET /metrics HTTP/1.1\r\nAccept\r\n: :\r\n\r\n", b"200"),
        (b"GET /metrics HTTP/1.1\r\nAccept: text/plain;version=no;escaping=\r\n\r\n", b"200"),
    ],
)
def test_requests_of_every_kind_are_answered(
    exporter: Exporter, request_: bytes, status: bytes
) -> None:
    got = answer(exporter, request_)
    assert got.startswith(b"HTTP/1.1 " + status)
    head, _, body = got.partition(b"\r\n\r\n")
    assert b"\r\nConnection: close" in head
    length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
    assert len(body) == (0 if request_.startswith(b"HEAD") else length)
    assert scrape(exporter)[0].startswith("text/plain")


def test_a_request_without_an_end_is_refused(exporter: Exporter) -> None:
    assert b" 431 " in answer(exporter, b"G" * REQUEST_BYTES_MAX)
    scrape(exporter)


def test_a_scraper_that_asks_for_open_metrics_gets_them(exporter: Exporter) -> None:
    exporter.add("a", lambda: [Sample(ANSWER, ("a",), 42.0)])
    kind, text = scrape(exporter, "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert kind.startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")


def test_scraping_in_a_loop_does_not_count_in_a_loop(exporter: Exporter) -> None:
    counted = 0

    def collect() -> list[Sample]:
        nonlocal counted
        counted += 1
        return [Sample(ANSWER, ("a",), 42.0)]

    exporter.add("a", collect)
    begin_s = time.monotonic()
    for _ in range(20):
        scrape(exporter)
    assert counted <= 1.0 + (time.monotonic() - begin_s)


def test_a_page_that_cannot_be_made_is_told_and_made_again(exporter: Exporter) -> None:
    def collect() -> list[Sample]:
        raise RuntimeError("dictionary changed size during iteration")

    exporter.add("a", collect)
    for _ in range(2):
        assert b" 500 " in answer(exporter, b"GET /metrics HTTP/1.1\r\n\r\n")


def test_a_server_that_was_used_closes_at_once() -> None:
    exporter = Exporter("127.0.0.1:0")
    with connected(exporter) as link:
        scrape(exporter)
        begin_s = time.monotonic()
        exporter.close()
        assert time.monotonic() - begin_s < LIMIT_S
        assert link.recv(1) == b""
