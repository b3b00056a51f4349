"""The API reference is built from the docstrings without a warning, and leaves no name out."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import plc
from tests.processes import ROOT, environment


@pytest.mark.deep
def test_the_reference_is_built_without_a_warning_and_is_whole(tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    pytest.importorskip("aiortc")  # whose class for tracks is described, too
    # As docs/usage.md says.
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "-E", str(ROOT / "docs/api"), str(tmp_path)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    pages = [path.read_text() for path in tmp_path.glob("*.html")]
    described = {name for page in pages for name in re.findall(r'id="(plc\.[\w.]+)"', page)}
    missing = [
        name
        for name in plc.__all__
        if not {f"plc.{name}", f"{plc._HOMES[name]}.{name}"} & described
    ]
    assert not missing
    assert {"plc.Concealer.push", "plc.Stats.w3c", "plc.embed.aiortc.ConcealedTrack"} <= described
