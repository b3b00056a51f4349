import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from tests.signals import tones

SCRIPT = Path(__file__).parents[2] / "bench" / "reproduce.sh"

if not SCRIPT.exists() or shutil.which("sh") is None:
    pytest.skip("there is no script, or no shell", allow_module_level=True)


def reproduce(*arguments: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHON": sys.executable, "JOBS": "1", "QUICK": "1"}
    return subprocess.run(
        ["sh", str(SCRIPT), *map(str, arguments)], capture_output=True, text=True, env=environment
    )


def test_without_a_folder_it_says_how_it_is_used() -> None:
    said = reproduce()
    assert said.returncode == 2
    assert "bench/reproduce.sh OUT [CORPUS]" in said.stderr
    assert said.stdout == ""


@pytest.mark.system
def test_a_corpus_becomes_studies_and_tables(tmp_path: Path) -> None:
    for module in ("matplotlib", "soxr", "onnxruntime", "pesq", "pystoi"):
        pytest.importorskip(module)
    for number, domain in enumerate(("music", "instruments", "speech")):
        folder = tmp_path / "corpus" / domain / "test"
        folder.mkdir(parents=True)
        soundfile.write(folder / f"{domain}.flac", tones(number, 16_000, 16_000), 16_000)
    said = reproduce(tmp_path / "out", tmp_path / "corpus")
    assert said.returncode == 0, said.stderr
    assert said.stderr.count("[5/5, ") == 1
    page = (tmp_path / "out" / "headline.md").read_text()
    assert said.stdout == page
    for name in ("music", "small-packets", "speech", "telephone"):
        assert f"# {name}\n" in page
        assert (tmp_path / "out" / name / "summary.md").exists()
