"""Fixtures for the tests of the operators."""

import pytest
import self_test
import test_cores


@pytest.fixture(scope="session")
def small_grid(tmp_path_factory):
    """(file of test cases, their number): what a core or a compiler must get right."""
    path = tmp_path_factory.mktemp("golden") / "cases"
    count, data = test_cores.small_grid()
    path.write_bytes(data)
    return path, count


@pytest.fixture(scope="session")
def all_cases(small_grid, tmp_path_factory):
    """(file, number) of the self-test's cases and the small grid."""
    (grid, count), (own_count, self_test_cases) = small_grid, self_test.cases()
    path = tmp_path_factory.mktemp("golden") / "cases"
    path.write_bytes(self_test_cases + grid.read_bytes())
    return path, own_count + count
