"""What all tests share: a fixed profile for Hypothesis, and the folder of large result sets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

DATA = "AGGRKIT_TEST_DATA"

# The same examples at every run, so that a red test is a change of the code; HYPOTHESIS_PROFILE=explore looks further.
settings.register_profile(
    "aggrkit",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile("explore", settings.get_profile("aggrkit"), derandomize=False, max_examples=250)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "aggrkit"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests of the large result sets where they are not at hand."""
    if item.get_closest_marker("data") and not Path(os.environ.get(DATA, "/nowhere")).is_dir():
        pytest.skip(f"needs the large result sets; set {DATA} to their folder")


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Return the folder of the large result sets; only for tests marked with "data"."""
    return Path(os.environ[DATA])


@pytest.fixture(scope="session")
def small_data() -> Path:
    """Return the folder of the small reference data that belong to the tests."""
    return Path(__file__).parent / "data"
