"""The files of ``examples/relay`` fit the relay, and the programs they are for take them."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from plc.transport.cli.streams import read_relay_file
from plc.transport.metrics import (
    LIVE_METRICS,
    PLAYOUT_METRICS,
    RELAY_METRICS,
    Exporter,
    relay_samples,
)
from plc.transport.relay.relayed import RelayConfig, StreamRelay
from plc.transport.rtp.udp import Endpoint
from tests.plc.configs import changed
from tests.plc.transport.relay.served_relay import (
    comes_true,
    free_port,
    health,
    sent_and_heard,
    stream,
)
from tests.processes import ROOT

FOLDER = ROOT / "examples" / "relay"
SUFFIXES = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
}
METRICS = (*PLAYOUT_METRICS, *RELAY_METRICS, *LIVE_METRICS)
SERVED = {f"plc_{metric.name}{suffix}" for metric in METRICS for suffix in SUFFIXES[metric.kind]}


def text_of(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def test_the_file_of_streams_is_read() -> None:
    read = read_relay_file(FOLDER / "relay.toml")
    studio, reporter = read.streams
    assert (studio.receiver.codec, studio.receiver.stream.packet_samples) == ("l24", 48)
    assert studio.second is not None
    assert (reporter.name, reporter.receiver.codec) == ("reporter", "opus")
    assert set(read.settings) == {"metrics", "control", "log_json"}


def asked_by_panels() -> list[str]:
    """Return what the dashboard asks Prometheus."""
    panels = json.loads(text_of("grafana.json"))["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


@pytest.mark.parametrize("name", ["alerts.yml", "grafana.json"])
def test_rules_and_panels_ask_for_metrics_that_are_served(name: str) -> None:
    text = "\n".join(asked_by_panels()) if name.endswith(".json") else text_of(name)
    asked = set(re.findall(r"(?<![:\w])plc_[a-z_]+", text))  # what rules record has : before it
    assert len(asked) >= 8
    assert asked <= SERVED


def test_every_alert_is_raised_once_by_the_tests_of_the_rules() -> None:
    alerts = re.findall(r"- alert: (\w+)", text_of("alerts.yml"))
    tests = text_of("alerts_test.yml")
    raised = re.findall(r"alertname: (\w+)\n +exp_alerts", tests)
    assert sorted(raised) == sorted(alerts)


def test_service_and_container_watch_the_port_of_the_file() -> None:
    port = str(read_relay_file(FOLDER / "relay.toml").settings["metrics"]).rpartition(":")[2]
    assert f"http://127.0.0.1:{port}/healthz" in text_of("Dockerfile")
    assert f"127.0.0.1:{port}" in text_of("prometheus.yml")
    service = text_of("plc-relay.service")
    assert "Type=notify" in service
    assert "relay --config /etc/plc/relay.toml" in service
    assert "RuntimeDirectory=plc" in service
    # Its threads take their priorities themselves; a policy of the unit would give all the same.
    assert "TimeoutStartSec=900" in service  # the first start compiles the kernels
    assert "LimitRTPRIO=20" in service
    assert "LimitMEMLOCK=infinity" in service
    assert "CPUSchedulingPolicy" not in service


def test_units_are_the_same_but_for_what_each_instance_has_alone() -> None:
    def settings(name: str) -> set[str]:
        lines = text_of(name).splitlines()
        return {line for line in lines if line and not line.startswith(("#", "Description"))}

    one, several = settings("plc-relay.service"), settings("plc-relay@.service")
    assert sorted(one - several) == [
        "ExecStart=/opt/plc/bin/plc relay --config /etc/plc/relay.toml",
        "RuntimeDirectory=plc",
    ]
    assert sorted(several - one) == [
        "ExecStart=/opt/plc/bin/plc relay --config /etc/plc/relay.toml"
        " --metrics 127.0.0.1:%i --control /run/plc-%i/relay.sock",
        "RuntimeDirectory=plc-%i",
        "User=plc-relay",
    ]


def test_metrics_have_names_that_prometheus_advises() -> None:
    """As ``promtool check metrics`` does, which need not be installed."""
    pytest.importorskip("prometheus_client")
    from prometheus_client.parser import text_string_to_metric_families

    families = list(text_string_to_metric_families(page()))
    assert len(families) > 30
    for family in families:
        assert re.fullmatch(r"plc_[a-z][a-z0-9_]*", family.name)
        assert family.documentation
        assert not re.search(r"(_ms|_milliseconds|_counter|_gauge|_histogram)$", family.name)
        for sample in family.samples:
            assert all(re.fullmatch(r"[a-z_]+", label) for label in sample.labels)
        if family.type == "histogram":
            buckets = [each.value for each in family.samples if each.labels.get("le")]
            assert buckets
            counts = [each.value for each in family.samples if each.name.endswith("_count")]
            assert counts


def page() -> str:
    config = changed(
        RelayConfig(listen=Endpoint("127.0.0.1", 0), to=Endpoint("127.0.0.1", 9)), model="ar"
    )
    with closing(StreamRelay(config)) as relay, closing(Exporter("127.0.0.1:0")) as exporter:
        exporter.add("a", lambda: relay_samples("a", relay))
        status, _, text = exporter._page("")
    assert status == 200
    return text.decode()


@pytest.mark.system
@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_has_nothing_to_say(tmp_path: Path) -> None:
    pytest.importorskip("prometheus_client")
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=page(), capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    for check, name in (("rules", "alerts.yml"), ("config", "prometheus.yml")):
        subprocess.run(["promtool", "check", check, FOLDER / name], check=True)
    subprocess.run(["promtool", "test", "rules", FOLDER / "alerts_test.yml"], check=True)
    # Grafana has no such check; as rules its questions get Prometheus' own.
    asked = [each.replace("$__rate_interval", "1m") for each in asked_by_panels()]
    rules = [{"record": f"panel:{n}", "expr": each} for n, each in enumerate(asked)]
    (tmp_path / "panels.yml").write_text(json.dumps({"groups": [{"name": "a", "rules": rules}]}))
    subprocess.run(["promtool", "check", "rules", tmp_path / "panels.yml"], check=True)


@pytest.mark.system
@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)
@pytest.mark.parametrize(
    ("name", "as_started"),
    [("plc-relay.service", "plc-relay.service"), ("plc-relay@.service", "plc-relay@9464.service")],
)
def test_systemd_takes_the_unit(name: str, as_started: str, tmp_path: Path) -> None:
    unit = tmp_path / as_started
    unit.write_text(text_of(name).replace("/opt/plc/bin/plc", sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not [line for line in done.stderr.splitlines() if "plc-relay" in line]


# ---- the image ----------------------------------------------------------------------------------

BASE = "docker.io/library/python:3.12-slim"
# Certificates of this machine: its package index may have its own.
CERTIFICATES = "/etc/ssl/certs:/etc/ssl/certs:ro"
PATIENCE_S = 1800.0


@dataclass(frozen=True, slots=True)
class Buildah:
    """buildah with images of its own."""

    folder: Path

    def command(self, *arguments: object) -> list[str]:
        store = ("--storage-driver", "vfs", "--root", self.folder / "root")
        return [
            str(each) for each in ("buildah", *store, "--runroot", self.folder / "run", *arguments)
        ]

    def __call__(self, *arguments: object) -> str:
        done = ran(*self.command(*arguments))
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout


def ran(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(each) for each in command], capture_output=True, text=True, timeout=PATIENCE_S
    )


@pytest.fixture
def buildah(tmp_path: Path) -> Iterator[Buildah]:
    """Return buildah with images of its own, among them the one that the Dockerfile begins with.

    Where no registry answers, that is a Debian with its own Python.
    """
    if shutil.which("buildah") is None:
        pytest.skip("buildah is not installed: apt-get install buildah debootstrap")
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("buildah's chroots need root")
    call = Buildah(tmp_path)
    if ran(*call.command("pull", "-q", BASE)).returncode:
        container = call("from", "scratch").strip()
        call("copy", "-q", container, debian(tmp_path / "base"), "/")
        call("commit", "-q", "--rm", container, BASE)
        shutil.rmtree(tmp_path / "base")
    yield call
    call("rm", "--all")
    call("rmi", "--all", "--force")


def debian(folder: Path) -> Path:
    """Return a folder with a Debian in which ``python`` and ``pip`` work as in Python's image."""
    if shutil.which("debootstrap") is None:
        pytest.skip(
            "no registry of images answers, and there is no debootstrap: apt-get install it"
        )
    packages = "--include=python3,python3-pip,ca-certificates"
    done = ran("debootstrap", "--variant=minbase", packages, "bookworm", folder)
    if done.returncode:
        pytest.skip(f"neither a registry of images nor Debian's answers: {done.stdout[-300:]}")
    for mark in folder.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
        mark.unlink()
    (folder / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    return folder


@pytest.mark.deep
@pytest.mark.system
def test_the_image_is_built_and_runs_a_relay(buildah: Buildah, tmp_path: Path) -> None:
    build = ("bud", "--isolation", "chroot", "--network", "host", "--pull-never", "-q")
    file = ("--format", "docker", "--volume", CERTIFICATES, "--file", FOLDER / "Dockerfile")
    image = buildah(*build, *file, ROOT).strip().splitlines()[-1]
    made = json.loads(buildah("inspect", "--type", "image", image))["Docker"]["config"]
    assert (made["User"], made["Entrypoint"]) == ("plc", ["plc", "relay"])
    assert made["Cmd"] == ["--config", "/etc/plc/relay.toml"]
    assert made["Healthcheck"]["Test"][:2] == ["CMD", "python"]
    container = buildah("from", "--pull-never", image).strip()

    def inside(*command: str) -> str:
        return buildah("run", "--isolation", "chroot", container, "--", *command).strip()

    assert inside("id", "-un") == "plc"
    assert re.fullmatch(r"plc \d+\.\d+\.\d+", inside("plc", "--version"))
    extras = "import onnxruntime, av, aiortc, prometheus_client, plc; print(plc.__file__)"
    assert (
        "/dist-packages/" in (where := inside("python", "-c", extras)) or "/site-packages/" in where
    )
    inside("sh", "-c", "touch /var/cache/plc/a /run/plc/a && rm /var/cache/plc/a /run/plc/a")
    # Nothing of the source is left but what was installed.
    assert inside("sh", "-c", "ls -d /src /wheels /tmp/*.whl 2>/dev/null || true") == ""
    relays(buildah, container, tmp_path / "relay.toml")


def relays(buildah: Buildah, container: str, file: Path) -> None:
    """Run the image's relay with a file of streams, and send it some packets."""
    web = free_port(socket.SOCK_STREAM)
    listen, to = free_port(), free_port()
    file.write_text(f'metrics = "127.0.0.1:{web}"\n' + stream("a", listen, to))
    config = json.loads(buildah("inspect", container))["Docker"]["config"]
    command = (*config["Entrypoint"], *config["Cmd"])
    volume = ("--volume", f"{file}:{config['Cmd'][-1]}:ro")
    run = buildah.command("run", "--isolation", "chroot", *volume, container, "--", *command)
    relay = subprocess.Popen(run, start_new_session=True)
    try:
        assert comes_true(lambda: relay.poll() is not None or health(web) == 200, PATIENCE_S)
        assert sent_and_heard(listen, to) >= 40
    finally:
        os.killpg(relay.pid, signal.SIGTERM)
        relay.wait(60.0)
    assert health(web) == 0
