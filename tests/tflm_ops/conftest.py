"""Fixtures for the tests of the operators."""

import pytest
import test_cores


@pytest.fixture(scope="session")
def small_grid(tmp_path_factory):
    """(file of test cases, their number): what a core or a compiler must get right."""
    path = tmp_path_factory.mktemp("golden") / "cases"
    count, data = test_cores.small_grid()
    path.write_bytes(data)
    return path, count
