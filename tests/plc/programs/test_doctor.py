import json
import os
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

import plc_kernels
from plc import processor_time
from plc.programs import doctor
from plc.programs.cli.app import app
from plc.programs.doctor import FORMATS, NEEDED, OPTIONAL, Health, Ladder, examine, facts
from plc.transport.rtp.pieces import WARM_UPS
from tests.installed import needs_numba
from tests.options import ran


@pytest.fixture(scope="module")
def health() -> Health:
    return examine()


def test_this_machine_is_fit(health: Health) -> None:
    assert health.problems == ()
    assert health.cores >= 1
    assert health.cpu
    assert health.versions["numpy"] == version("numpy")
    assert set(health.versions) == {*NEEDED, *OPTIONAL}


@pytest.mark.parametrize(
    ("flags", "name"),
    [("fpu avx2 avx512f", "Quick 9 (AVX-512)"), ("fpu avx2", "Quick 9 (AVX2)"), ("", "Quick 9")],
)
def test_a_processor_is_told_by_its_name_and_vectors(
    monkeypatch: pytest.MonkeyPatch, flags: str, name: str
) -> None:
    told = f"processor\t: 0\nmodel name\t: Quick 9\nflags\t\t: {flags}\n\nprocessor\t: 1\n"
    monkeypatch.setattr(Path, "read_text", lambda *_: told)
    assert processor_time.cpu_name() == name


def test_networks_stand_beside_the_ladder(health: Health) -> None:
    pytest.importorskip("onnxruntime")
    served = {ladder.format: ladder for ladder in health.ladders}
    music = served["48 kHz, 1 ch, 10 ms"].networks["music"]
    assert f"music: network music, {music['cost_ms']:.2f} ms" in doctor.ladder_text(
        served["48 kHz, 1 ch, 10 ms"]
    )
    out = {"model": "slow", "mode": "left out", "cost_ms": 9.0, "budget_ms": 12.9}
    text = doctor.ladder_text(
        Ladder(format="any", budget_ms=5.0, rungs={}, networks={"speech": out})
    )
    assert text == (
        "speech: network slow, 9.00 ms: too slow here, left out; budget_ms=12.9 would do"
    )
    broken = {"model": "odd", "mode": "left out", "why": "the file was changed"}
    text = doctor.ladder_text(
        Ladder(format="any", budget_ms=5.0, rungs={}, networks={"speech": broken})
    )
    assert text == "speech: network odd: left out, the file was changed"


def test_every_format_has_a_ladder_of_at_least_one_rung(health: Health) -> None:
    assert len(health.ladders) == len(FORMATS)
    assert all(ladder.rungs for ladder in health.ladders)


@needs_numba
def test_the_cache_is_where_numba_was_told_or_beside_the_kernels(health: Health) -> None:
    beside = str(Path(str(plc_kernels.__file__)).parent)
    assert health.cache.folder is not None
    assert health.cache.folder.startswith(os.environ.get("NUMBA_CACHE_DIR", beside))
    assert health.cache.writable
    # Constructing a concealer above has compiled some of them.
    assert 0 < health.cache.compiled <= health.cache.kernels
    assert health.cache.kernels == sum(len(each.kernels) for each in WARM_UPS)


def test_a_start_in_a_process_of_its_own_was_timed(health: Health) -> None:
    assert health.start_s is not None
    assert health.start_s > 0.0
    assert health.warm_up_s is None


def test_the_scheduler_is_given_back(health: Health) -> None:
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
    assert health.real_time.fifo_scheduler or health.real_time.fifo_hint


@needs_numba
def test_facts_name_everything_and_what_brings_the_absent(health: Health) -> None:
    lines = dict(facts(health))
    assert {*NEEDED, *OPTIONAL, "processor", "kernel cache", "flush to zero"} <= set(lines)
    for name in OPTIONAL:
        if health.versions[name] is None:
            assert "pip install " in lines[name]


def test_a_missing_library_is_a_problem_and_the_status_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("plc.programs.doctor.NEEDED", ("numpy", "no-such-distribution"))
    monkeypatch.setattr("plc.programs.doctor.FORMATS", FORMATS[2:3])
    result = ran(app, "doctor", status=1)
    assert "no-such-distribution is not installed" in result.stderr


@needs_numba
def test_the_command_prints_tables_and_json(
    monkeypatch: pytest.MonkeyPatch, health: Health
) -> None:
    monkeypatch.setattr("plc.programs.doctor.examine", lambda **settings: health)
    table = ran(app, "doctor")
    for text in ("kernel cache", "48 kHz, 8 ch, 10 ms", version("numba")):
        assert text in table.stdout
    printed = CliRunner().invoke(app, ["doctor", "--json"])
    assert json.loads(printed.stdout)["python"] == health.python
