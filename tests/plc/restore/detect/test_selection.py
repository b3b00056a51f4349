import pytest

from plc.errors import ConfigError
from plc.restore.detect.findings import EVERYTHING, KINDS, Finding, Selection


def finding(kind: str, samples: int, confidence: float) -> Finding:
    return Finding(start=0, stop=samples, kind=kind, confidence=confidence, channels=(0,))


def test_only_what_is_asked_for_is_selected() -> None:
    found = [finding("silence", 800, 0.9), finding("click", 8, 0.6), finding("click", 16, 0.9)]
    assert EVERYTHING.of(found, 8_000) == tuple(found)
    assert Selection(kinds=("click",)).of(found, 8_000) == tuple(found[1:])
    assert Selection(min_confidence=0.9).of(found, 8_000) == (found[0], found[2])
    assert Selection(longest_ms=1.0).of(found, 8_000) == (found[1],)


def test_an_impossible_selection_is_refused() -> None:
    with pytest.raises(ConfigError, match=", ".join(KINDS)):
        Selection(kinds=("clack",))
    with pytest.raises(ConfigError, match="give 0 to 1"):
        Selection(min_confidence=float("nan"))
    with pytest.raises(ConfigError, match="more than 0"):
        Selection(longest_ms=0.0)
