"""The files of ``examples/relay`` fit the relay, and the programs they are for take them."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from plc.apps.metrics import LIVE_METRICS, PLAYOUT_METRICS, RELAY_METRICS, Exporter, relay_samples
from plc.apps.relay_stream import RelayConfig, StreamRelay
from plc.cli.streams import read_relay_file
from plc.rtp.udp import Endpoint
from tests.plc.configs import changed

FOLDER = Path(__file__).parents[3] / "examples" / "relay"
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


@pytest.mark.parametrize("name", ["alerts.yml", "grafana.json"])
def test_rules_and_panels_ask_for_metrics_that_are_served(name: str) -> None:
    text = text_of(name)
    if name.endswith(".json"):
        panels = json.loads(text)["panels"]
        text = "\n".join(target["expr"] for panel in panels for target in panel["targets"])
    asked = set(re.findall(r"\bplc_[a-z_]+", text))
    assert len(asked) >= 8
    assert asked <= SERVED


def test_service_and_container_watch_the_port_of_the_file() -> None:
    port = str(read_relay_file(FOLDER / "relay.toml").settings["metrics"]).rpartition(":")[2]
    assert f"http://127.0.0.1:{port}/healthz" in text_of("Dockerfile")
    assert f"127.0.0.1:{port}" in text_of("prometheus.yml")
    service = text_of("plc-relay.service")
    assert "Type=notify" in service
    assert "relay --config /etc/plc/relay.toml" in service
    assert "RuntimeDirectory=plc" in service


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
    relay = StreamRelay(config)
    try:
        with Exporter("127.0.0.1:0") as exporter:
            exporter.add("a", lambda: relay_samples("a", relay))
            status, _, text = exporter._page("")
    finally:
        relay.close()
    assert status == 200
    return text.decode()


@pytest.mark.system
@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_has_nothing_to_say() -> None:
    pytest.importorskip("prometheus_client")
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=page(), capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    for check, name in (("rules", "alerts.yml"), ("config", "prometheus.yml")):
        subprocess.run(["promtool", "check", check, FOLDER / name], check=True)


@pytest.mark.system
@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "plc-relay.service"
    unit.write_text(text_of("plc-relay.service").replace("/opt/plc/bin/plc", sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not [line for line in done.stderr.splitlines() if "plc-relay" in line]
