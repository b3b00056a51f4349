import doctest
import importlib
import inspect
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import plc
from tests.installed import needs_checkout

ROOT = Path(__file__).parents[2]
MUSIC = np.zeros(8000, np.float32)


def wrong(**names: object) -> Any:
    """Return keywords that no type checker would let through."""
    return names


def test_every_public_name_is_there_and_has_a_home() -> None:
    assert set(plc._HOMES) == set(plc.__all__)
    for name in plc.__all__:
        assert getattr(plc, name) is not None
    assert dir(plc) == sorted([*plc.__all__, "__version__"])


def test_help_begins_with_what_conceals() -> None:
    about = str(plc.__doc__)
    for name in (*("Concealer", "ConcealerPool", "PlayoutBuffer"), "conceal", "inpaint", "detect"):
        assert re.search(rf"\b{name}\b", about), name
    described = plc.Concealer(16_000, method="ar").describe()
    assert repr(described).splitlines()[:2] == ["{'sample_rate': 16000,", " 'channels': 1,"]


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'conseal'"):
        plc.conseal  # noqa: B018


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda: plc.Concealer(**wrong(sample_rat=48_000)),
            "sample_rat is .* 'sample_rate'",
        ),
        (lambda: plc.conceal(MUSIC, [], **wrong(packet_m=10)), "conceal: packet_m .* 'packet_ms'"),
        (lambda: plc.inpaint(MUSIC, [], **wrong(methd="ar")), "inpaint: methd .* 'method'"),
        (
            lambda: plc.detect(MUSIC, **wrong(samplerate=8000)),
            "samplerate is .* 'sample_rate'",
        ),
        (lambda: plc.Detector(8000, **wrong(chanels=1)), "Detector: chanels .* 'channels'"),
        (lambda: plc.ConcealerPool(**wrong(thread=2)), "ConcealerPool: thread .* 'threads'"),
        (
            lambda: plc.ConcealerPool().open(**wrong(sampl_rate=8000)),
            "sampl_rate .* 'sample_rate'",
        ),
        (lambda: plc.Concealer(**wrong(method="brug")), "method is 'brug'; known: auto, .* 'burg'"),
        (lambda: plc.Concealer(model="spech"), "model is 'spech'; in the package: .* 'speech'"),
        (lambda: plc.Concealer(prepare="alway"), "prepare is 'alway'; .* 'always'"),
        (lambda: plc.Concealer(provider="cdua"), "provider is 'cdua'; .* 'cuda'"),
        (lambda: plc.conceal(MUSIC, "lost.txt"), "lost is the text 'lost.txt'; give a trace"),
        (lambda: plc.inpaint(MUSIC, "lost.txt"), "lost is the text 'lost.txt'; give a trace"),
    ],
)
def test_a_mistyped_name_is_answered_with_the_one_most_like_it(
    call: Callable[[], object], said: str
) -> None:
    with pytest.raises(plc.PlcError, match=said) as refused:
        call()
    assert "__init__" not in str(refused.value)


def test_a_type_error_within_a_call_stays_one() -> None:
    def progress(samples: int) -> None:  # takes two
        raise AssertionError

    with pytest.raises(TypeError):
        plc.inpaint(MUSIC, [(100, 200)], sample_rate=8000, progress=progress)  # type: ignore[arg-type]


def test_importing_the_package_loads_neither_numpy_nor_numba() -> None:
    code = "import sys, plc; assert not {'numpy', 'numba'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=60)


@pytest.mark.parametrize("home", sorted(set(plc._HOMES.values())))
def test_the_examples_of_the_docstrings_are_true(home: str) -> None:
    module = importlib.import_module(home)
    runner = doctest.DocTestRunner()
    for name in (name for name, place in plc._HOMES.items() if place == home):
        public = inspect.unwrap(getattr(module, name)) if callable(getattr(module, name)) else None
        for test in doctest.DocTestFinder().find(public, name, module, extraglobs={"np": np}):
            runner.run(test)
    assert not runner.failures


def test_every_class_and_function_to_call_has_an_example() -> None:
    for name in ("Concealer", "ConcealerPool", "conceal", "inpaint"):
        assert ">>>" in (getattr(plc, name).__doc__ or "")


@needs_checkout
def test_version_and_licence_are_the_same_wherever_they_stand() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project, dynamic = settings["project"], settings["tool"]["setuptools"]["dynamic"]
    citation = (ROOT / "CITATION.cff").read_text()
    assert project["dynamic"] == ["version"]
    assert dynamic["version"] == {"attr": "plc.__version__"}
    assert f"\nversion: {plc.__version__}\n" in citation
    recordings = (ROOT / "plc/data/LICENCE.md").read_text()
    theirs = set(re.findall(r"\((CC-[A-Z0-9.-]+)\)\]", recordings))
    assert project["license"] == " AND ".join(["MIT", *sorted(theirs)])
    assert "\nlicense: MIT\n" in citation
    assert (ROOT / "CHANGELOG.md").read_text().count("## Unreleased\n") == 1
