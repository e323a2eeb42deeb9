"""What `make test` says at its end of tests that were skipped."""

import pytest
from hypothesis import settings

from . import plugin

pytest_plugins = ["pytester"]


@pytest.mark.parametrize(
    ("reasons", "line"),
    [
        (["needs CUDA"], "1 test was skipped: 1 needs CUDA"),
        (["needs CUDA"] * 2, "2 tests were skipped: 2 need CUDA"),
        (
            ["needs CUDA", *["needs Debian's packages chromium and chromium-driver"] * 9]
            + ["needs Debian's package postgresql"] * 4
            + ["shellcheck is not installed"],
            "15 tests were skipped: 9 need chromium and chromium-driver, 4 need postgresql, "
            "1 needs CUDA, 1: shellcheck is not installed; "
            "apt-get install chromium chromium-driver postgresql",
        ),
    ],
)
def test_what_was_skipped_is_one_line(reasons: list[str], line: str) -> None:
    assert plugin.skipped_line([f"Skipped: {reason}" for reason in reasons]) == line


TESTS = """
import pytest

@pytest.fixture
def browser():
    pytest.skip("needs Debian's package chromium")

def test_page(browser): pass

@pytest.mark.skipif(True, reason="needs CUDA")
def test_card(): pass

def test_other(): pass
"""


def test_it_is_the_last_line(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TESTS)
    said = pytester.runpytest_inprocess(plugins=[plugin]).outlines
    assert " 1 passed, 2 skipped in " in said[-2]
    assert said[-1] == (
        "2 tests were skipped: 1 needs chromium, 1 needs CUDA; apt-get install chromium"
    )
    said = pytester.runpytest_inprocess("-k", "other", plugins=[plugin]).outlines
    assert " 1 passed, 2 deselected in " in said[-1]


def test_a_busy_machine_fails_no_example() -> None:
    assert settings().deadline is None
