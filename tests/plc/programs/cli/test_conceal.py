"""``plc conceal --mask-out`` tells which samples were made up."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from plc.files.marks import read_mask
from plc.programs.cli.app import app
from tests.signals import tones

RATE, PACKET = 8000, 80
LOST = [3, 4, 9, 19]
REFUSED = 14


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Twenty packets and a half, of which one holds NaN, and a trace beside it."""
    samples = 0.3 * tones(3, RATE, 20 * PACKET + 40).astype(np.float32)
    samples[REFUSED * PACKET + 5] = np.nan
    soundfile.write(tmp_path / "in.wav", samples, RATE, subtype="FLOAT")
    lost = "".join("1" if k in LOST else "0" for k in range(21))
    (tmp_path / "in.trace").write_text(lost)
    return tmp_path / "in.wav"


def conceal(*arguments: object) -> str:
    done = CliRunner().invoke(app, ["conceal", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.output


def test_a_mask_has_what_was_lost_and_what_was_refused(recording: Path, tmp_path: Path) -> None:
    trace = recording.with_suffix(".trace")
    for lookahead in (0, 2):
        mask = tmp_path / f"mask-{lookahead}.wav"
        options = "--trace", trace, "--lookahead", lookahead, "--overwrite", "--mask-out", mask
        told = conceal(recording, tmp_path / "out.wav", *options)
        assert "concealed 4 of 21 packets" in told
        holes = [(hole.start, hole.stop) for hole in read_mask(mask, 20 * PACKET + 40)]
        packets = [(3, 5), (9, 10), (14, 15), (19, 20)]
        assert holes == [(PACKET * first, PACKET * last) for first, last in packets]


def test_labels_are_a_line_for_each_burst_and_several_go_into_a_folder(
    recording: Path, tmp_path: Path
) -> None:
    trace = recording.with_suffix(".trace")
    labels = tmp_path / "made.txt"
    conceal(recording, tmp_path / "out.wav", "--trace", trace, "--mask-out", labels)
    first, *others = labels.read_text().splitlines()
    assert first == "0.030000\t0.050000\tmade up"
    assert len(others) == 3
    again = ["conceal", str(recording), str(tmp_path / "out.wav"), "--trace", str(trace)]
    for taken in (recording, tmp_path / "out.wav"):
        refused = CliRunner().invoke(app, [*again, "--overwrite", "--mask-out", str(taken)])
        assert refused.exit_code != 0
    assert np.isnan(soundfile.read(recording)[0]).any()
    soundfile.write(tmp_path / "two.wav", np.zeros(RATE), RATE)
    conceal(
        recording, tmp_path / "two.wav", tmp_path / "to/", "--loss", "20%",
        "--mask-out", tmp_path / "masks/",
    )  # fmt: skip
    assert {path.name for path in (tmp_path / "masks").iterdir()} == {"in.wav.txt", "two.wav.txt"}


def test_a_network_capture_has_no_mask(tmp_path: Path) -> None:
    (tmp_path / "call.pcap").write_bytes(
        bytes.fromhex("d4c3b2a1020004000000000000000000ffff0000") + b"\1\0\0\0"
    )
    given = [str(tmp_path / name) for name in ("call.pcap", "out.wav")]
    refused = CliRunner().invoke(app, ["conceal", *given, "--mask-out", str(tmp_path / "m.wav")])
    assert refused.exit_code == 2
    assert "--mask-out" in refused.output
