"""How large and how fast the review of a large study is.

    python -m bench.review [--trials 2000] [--space full]

A study of synthetic trials with dev predictions of 1,200 examples a report, without training. The
page is opened in headless Chromium (Debian packages chromium and chromium-driver). It is usable
once the table is filled and the first figure drawn.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from testkit.browser import open_browser, what_is_missing
from testkit.synthetic import rising, synthetic_run

# Goes to the first figure and gives the milliseconds since the page was asked for.
_FIRST_FIGURE = """
    const done = arguments[0];
    elements[0].scrollIntoView();
    const look = () => (drawn.size ? done(performance.now()) : setTimeout(look, 5));
    look();
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--space", default="full")
    arguments = parser.parse_args()
    if (missing := what_is_missing()) is not None:
        parser.error(missing)
    with tempfile.TemporaryDirectory() as temporary:
        folder = synthetic_run(
            Path(temporary) / "run",
            rising,
            space=arguments.space,
            trials=arguments.trials,
            epochs=9,
            sampler="random",
        )
        reports = sum("/" in name for name in folder.predictions.directory.files())
        print(f"{arguments.trials} trials, {reports} reports")
        run = str(folder.path)
        print(f"search.review: {_seconds(run):.1f} s")
        print(f"search.review --trial 7: {_seconds(run, '--trial', '7'):.1f} s")
        print(f"search.review --html: {_seconds(run, '--html'):.1f} s")
        print(f"report.html: {folder.page.stat().st_size / 1e6:.1f} MB")
        with open_browser(Path(temporary) / "chromium") as browser:
            # Once before, as a browser that a person has open is no longer starting.
            browser.open(folder.page.as_uri())
            browser.open("about:blank")
            browser.driver.get(folder.page.as_uri())
            seconds = browser.driver.execute_async_script(_FIRST_FIGURE) / 1000
            shown = browser.run("return document.getElementById('shown').innerText")
            assert shown == f"{arguments.trials} of {arguments.trials} trials"
            print(f"usable in Chromium: {seconds:.1f} s")


def _seconds(*arguments: str) -> float:
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "search.review", *arguments], check=True, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
