import subprocess

import pytest

from plc.errors import ConfigError
from plc_bench.base import surroundings


def test_load_is_processes_that_end_with_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def start(command: list[str], stderr: int) -> subprocess.Popen[bytes]:
        started.append(popen(command, stderr=stderr))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", start)

    def fail_under_load() -> None:
        with surroundings.background_load(2):
            assert [process.poll() for process in started] == [None, None]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_under_load()
    assert all(process.returncode is not None for process in started)


@pytest.mark.parametrize("processes", [-1, 257])
def test_an_absurd_load_is_refused(processes: int) -> None:
    with (
        pytest.raises(ConfigError, match="supported: 0 to 256"),
        surroundings.background_load(processes),
    ):
        pass


def test_the_facts_name_the_processor() -> None:
    facts = surroundings.machine_facts()
    assert facts["cpu"]
    assert int(facts["cores"]) >= 1
