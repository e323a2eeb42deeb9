"""The picture of a study in TensorBoard."""

from collections.abc import Callable
from typing import Any

import pytest

from minbert.tasks import TASK_NAMES, Task
from search.review.tensorboard import log as tensorboard
from search.review.tensorboard.study_picture import study_picture

from .logged_search import Search, events


def size_of(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return int.from_bytes(png[16:20]), int.from_bytes(png[20:24])


def test_the_study_has_one_picture(search: Callable[..., Search]) -> None:
    one = search()
    assert events(one.folder).Tags()["images"] == []
    one.go().end()
    (image,) = events(one.folder).Images("study")
    assert image.step == sum(len(trial.reports) for trial in one.trials)
    assert (image.width, image.height) == size_of(image.encoded_image_string) == (800, 700)


@pytest.mark.parametrize(("seconds", "times"), [(60.0, 1), (-1.0, 8)])
def test_pictures_are_drawn_seldom(
    seconds: float, times: int, search: Callable[..., Search], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorboard, "_SECONDS_BETWEEN_PICTURES", seconds)
    drawn = []

    def picture(record: Any, *_: Any) -> tuple[bytes, int, int]:
        drawn.append(record)
        return b"", 1, 1

    monkeypatch.setattr(tensorboard, "study_picture", picture)
    search().go().end()
    assert len(drawn) == times


@pytest.mark.parametrize("tasks", [TASK_NAMES, TASK_NAMES[:2], TASK_NAMES[2:]])
def test_pictures_of_fewer_tasks(tasks: tuple[Task, ...], search: Callable[..., Search]) -> None:
    one = search().go()
    png, width, height = study_picture(one.driver.record, one.driver.pareto_front, tasks)
    assert size_of(png) == (width, height)
