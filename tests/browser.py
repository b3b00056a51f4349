"""Chromium, for tests of pages."""

import shutil

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = ("--no-sandbox", "--disable-dev-shm-usage", "--mute-audio")


def chromium() -> str:
    """Return where Chromium is; skip the module where there is none."""
    path = next((path for name in NAMES if (path := shutil.which(name))), None)
    if path is None:
        pytest.skip("Chromium is not installed (Debian: chromium)", allow_module_level=True)
    return path
