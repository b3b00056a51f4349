import json
from importlib import metadata
from pathlib import Path

import pytest

from plc import extras


class _Installed:
    def __init__(self, url: str | None) -> None:
        self.url = url

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return None if self.url is None else json.dumps({"url": self.url})


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "__file__", str(tmp_path / "plc" / "extras.py"))


def test_in_a_checkout_the_command_names_the_checkout() -> None:
    checkout = Path(extras.__file__).parents[1]
    assert extras.install_command("cpu", "train") == f"pip install -e '{checkout}[cpu,train]'"


@pytest.mark.parametrize(
    ("url", "command"),
    [
        ("file:///tmp/a%20b/plc.whl", "pip install '/tmp/a b/plc.whl[live]'"),
        ("https://example.org/plc.whl", "pip install 'plc-engine[live]'"),
        (None, "pip install 'plc-engine[live]'"),
    ],
)
@pytest.mark.usefixtures("outside")
def test_from_a_wheel_the_command_names_where_it_came_from(
    url: str | None, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata, "distribution", lambda name: _Installed(url))
    assert extras.install_command("live") == command


@pytest.mark.usefixtures("outside")
def test_without_a_distribution_the_command_names_the_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    assert extras.install_command("live") == "pip install 'plc-engine[live]'"
