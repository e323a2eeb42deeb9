"""What holds for all tests: examples have no deadline, and a line tells what was skipped."""

import re
from collections import Counter
from collections.abc import Generator, Sequence

import pytest
from hypothesis import HealthCheck, settings

# By default an example that takes more than 0.2 s fails, which a busy machine makes of any.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, None, None]:
    """End with one line on what was skipped, below all that pytest itself prints."""
    yield
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter and (skipped := reporter.stats.get("skipped", [])):
        reporter.write_line(skipped_line([report.longrepr[2] for report in skipped]))


def skipped_line(reasons: Sequence[str]) -> str:
    """How many tests were skipped for each reason, and which Debian packages to install.

    Args:
        reasons: of one test each, as pytest tells them: "Skipped: needs CUDA", or
            "Skipped: needs Debian's packages a and b".
    """
    parts, packages = [], set()
    for reason, count in Counter(reasons).most_common():
        what = reason.removeprefix("Skipped: ")
        if found := re.fullmatch(r"needs Debian's packages? (.*)", what):
            what = f"needs {found[1]}"
            packages |= set(re.split(r", | and ", found[1]))
        if what.startswith("needs ") and count > 1:
            what = f"need {what.removeprefix('needs ')}"
        parts.append(f"{count} {what}" if what.startswith("need") else f"{count}: {what}")
    were = "1 test was" if len(reasons) == 1 else f"{len(reasons)} tests were"
    line = f"{were} skipped: {', '.join(parts)}"
    return f"{line}; apt-get install {' '.join(sorted(packages))}" if packages else line
