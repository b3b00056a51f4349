"""What several tests of this folder need."""

import shutil

import pytest

from plc.embed.library import Library, build_library


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """Return the library, built for this machine."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    return build_library(tmp_path_factory.mktemp("libplc"))
