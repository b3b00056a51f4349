import json
import re
from importlib import metadata
from pathlib import Path

import pytest

from plc import extras
from tests.installed import needs_checkout


class _Installed:
    def __init__(self, url: str | None) -> None:
        self.url = url
        self.version = "0.1.0"

    def read_text(self, name: str) -> str | None:
        if name == "WHEEL":
            return "Wheel-Version: 1.0\nTag: py3-none-any\n"
        assert name == "direct_url.json"
        return None if self.url is None else json.dumps({"url": self.url})


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "__file__", str(tmp_path / "plc" / "extras.py"))


@needs_checkout
def test_in_a_checkout_the_command_names_the_checkout() -> None:
    checkout = Path(extras.__file__).parents[1]
    assert extras.install_command("cpu", "train") == f"pip install -e '{checkout}[cpu,train]'"


@pytest.mark.parametrize(
    ("url", "command"),
    [
        ("file:///tmp/a%20b/plc.whl", "pip install '/tmp/a b/plc.whl[live]'"),
        (
            "https://example.org/plc.whl",
            "pip install 'plc-engine[live] @ https://example.org/plc.whl'",
        ),
        (None, "pip install 'plc_engine-0.1.0-py3-none-any.whl[live]'"),
    ],
)
@pytest.mark.usefixtures("outside")
def test_from_a_wheel_the_command_names_where_it_came_from(
    url: str | None, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata, "distribution", lambda name: _Installed(url))
    assert extras.install_command("live") == command


@pytest.mark.usefixtures("outside")
def test_without_a_distribution_the_command_names_any_wheel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    assert extras.install_command("live") == "pip install 'plc_engine-*.whl[live]'"


def test_no_text_tells_to_install_from_an_index_which_has_no_such_package() -> None:
    root = Path(__file__).parents[2]
    folders = (".ci", "bench", "docs", "examples", "kernels", "plc", "tests", "training")
    files = [*root.glob("*.md"), *(path for name in folders for path in (root / name).rglob("*"))]
    texts = {".ipynb", ".md", ".mjs", ".html", ".py", ".toml", ".yml", ".service"}
    told = [
        str(path.relative_to(root))
        for path in files
        if path.suffix in texts
        and path != Path(__file__)
        and re.search(r"pip install [\"'\\]*plc-engine(?! ?@)", path.read_text(encoding="utf-8"))
    ]
    assert told == []
