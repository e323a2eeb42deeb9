"""report.html in a browser: what it draws, and that it asks for nothing."""

from pathlib import Path

import numpy as np
import pytest

from minbert.weights import Weights
from search.analysis.weighting import rank
from search.record import SearchRecord
from search.rerun import train_options
from search.review.page.report import page
from search.review.reading import read_run
from search.storage.folder import RunFolder
from testkit.browser import Browser


def address(folder: RunFolder) -> str:
    return folder.page.as_uri()


# The browser


def test_page_asks_for_nothing_and_draws_everything(folder: RunFolder, browser: Browser) -> None:
    browser.open(address(folder))
    browser.wait_for("The answer", "How much is chance", "All trials", "What was run")
    assert browser.run("elements.forEach(draw); return elements.length") == 6
    drawn = "return document.querySelectorAll('.figure .main-svg, .figure canvas').length"
    browser.wait(lambda: browser.run(drawn) >= 6, what="figures")
    assert browser.requests() == [address(folder)]
    assert browser.complaints() == []


def test_page_is_readable_on_a_phone(folder: RunFolder, browser: Browser) -> None:
    browser.open(address(folder), width=500, height=800)
    browser.wait_for("All trials")
    browser.run("elements.forEach(draw)")
    wide, shown = browser.run(
        "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    # Wide things scroll within themselves.
    assert wide == shown


def test_table_is_sorted_filtered_and_opened(
    folder: RunFolder, record: SearchRecord, browser: Browser
) -> None:
    browser.open(address(folder))
    cells = (
        "return [...document.querySelectorAll('#table tbody tr')].map(r => r.cells[0].innerText)"
    )
    assert browser.run(cells) == [str(trial.number) for trial in record.ranked]
    click = (
        "[...document.querySelectorAll('#table th')]"
        ".find((heading) => heading.innerText === arguments[0]).click()"
    )
    browser.run(click, "lr")
    by_lr = sorted(record.trials, key=lambda trial: (-trial.config.lr, trial.number))
    assert browser.run(cells) == [str(trial.number) for trial in by_lr]
    browser.run(click, "lr")
    by_lr = sorted(record.trials, key=lambda trial: (trial.config.lr, trial.number))
    assert browser.run(cells) == [str(trial.number) for trial in by_lr]
    filter_by = (
        "filter.value = arguments[0]; filter.dispatchEvent(new Event('input'));"
        "return document.getElementById('shown').innerText"
    )
    radam = [t for t in record.trials if t.config.optimizer == "radam" and t.config.lr > 1e-4]
    assert 0 < len(radam) < 24
    assert browser.run(filter_by, "radam lr>1e-4") == f"{len(radam)} of 24 trials"
    assert browser.run(filter_by, "optimizer=radam lr>1e-4") == f"{len(radam)} of 24 trials"
    assert browser.run(filter_by, "") == "24 of 24 trials"
    browser.run("document.querySelector('#table tbody tr').click()")
    detail = browser.run("return document.querySelector('#table tr.detail').innerText")
    first = by_lr[0]
    assert first.why in detail
    assert train_options(first.config, "strong") in detail


def test_triangle_is_right_at_random_points(
    folder: RunFolder, record: SearchRecord, browser: Browser
) -> None:
    browser.open(address(folder))
    draw = np.random.default_rng(3)
    for weights in draw.dirichlet([1, 1, 1], size=50):
        best = rank(record.trials, Weights(*weights))[0]
        said = browser.run("return winnerAt(arguments[0])", weights.tolist())
        assert (said["trial"], said["report"]) == (best.trial.number, best.report.step)
        assert said["score"] == pytest.approx(best.score, abs=1e-9)
        # What a person sees who points there.
        browser.run(
            "const at = new DOMPoint(...place(arguments[0])).matrixTransform(map.getScreenCTM());"
            "map.dispatchEvent(new PointerEvent('pointermove', {clientX: at.x, clientY: at.y}))",
            weights.tolist(),
        )
        seen = browser.run("return document.getElementById('triangle-says').innerText")
        assert f"trial {best.trial.number}, {best.trial.name}" in seen
        assert f"report {best.report.step}, {best.trial.state}: score {best.score:.4f}" in seen
    # And who types weights of another scale.
    browser.run(
        "document.querySelectorAll('#weights input').forEach((input, i) => {"
        "  input.value = [2, 6, 2][i]; input.dispatchEvent(new Event('input')) })"
    )
    seen = browser.run("return document.getElementById('triangle-says').innerText")
    best = rank(record.trials, Weights(2, 6, 2))[0]
    assert "sst 0.20, para 0.60, sts 0.20" in seen
    assert f"trial {best.trial.number}, " in seen


def test_markup_in_names_and_errors_is_shown_as_text(
    tmp_path: Path, folder: RunFolder, browser: Browser
) -> None:
    run = read_run(folder)
    hostile = "</script><img src=x onerror=document.title='taken'>"
    run.record.trials[3].name = hostile
    run.record.trials[4].state, run.record.trials[4].error = "failed", hostile
    (tmp_path / "page.html").write_text(page(run))
    browser.open((tmp_path / "page.html").as_uri())
    assert hostile in browser.wait_for(hostile)
    browser.run("elements.forEach(draw)")
    assert browser.run("return document.querySelectorAll('section img').length") == 0
    assert "taken" not in browser.driver.title
    assert browser.complaints() == []
