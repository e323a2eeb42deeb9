"""Trials that fail: what is tried again, how often, and with what."""

from typing import Any

import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from search.driver import Driver, Job
from search.record import TrialRecord
from testkit.simulation import equal_scores, report_of

from .simulated import finish, open_driver


def crash(driver: Driver, kind: Any, times: int) -> TrialRecord:
    for _ in range(times):
        job = driver.next_job(busy=False)
        assert isinstance(job, Job)
        assert job.trial.number == 0
        driver.failed(0, job.attempt.number, kind, f"attempt {job.attempt.number} {kind}")
    return driver.study.trials[0]


def test_a_lost_machine_is_no_retry_and_damaged_states_have_an_end() -> None:
    driver = open_driver(InMemoryStorage(), trials=2, retries=0)
    trial = crash(driver, "machine lost", 20)
    assert trial.state == "interrupted"
    assert [attempt.why for attempt in trial.attempts] == ["start"] + ["machine lost"] * 19
    trial = crash(driver, "state damaged", 2)
    assert trial.state == "interrupted"
    assert driver.damaged == ["attempt 21 state damaged", "attempt 22 state damaged"]
    trial = crash(driver, "crashed", 1)
    assert (trial.state, trial.error) == ("failed", "attempt 23 crashed")
    driver = open_driver(InMemoryStorage(), trials=2)
    assert crash(driver, "machine lost", 21).state == "failed"


def test_a_trial_waits_for_storage_as_long_as_patience_lasts() -> None:
    driver = open_driver(InMemoryStorage(), trials=2, storage_patience=9)
    told: list[str] = []
    driver.tell = told.append
    job = driver.next_job(busy=False)
    assert isinstance(job, Job)
    assert driver.waits(0, 1, "no space", 0.0)
    assert driver.waits(0, 1, "no space", 9.0)
    assert driver.reported(0, 1, report_of(job.trial, 1, equal_scores(0.5)), b"")
    assert told == [
        "trial 0 waits for storage: no space",
        "trial 0 continues: storage answers again",
    ]
    # An attempt that was given up has no say.
    assert not driver.waits(0, 7, "no space", 99.0)
    assert not driver.lost
    assert driver.waits(0, 1, "no space", 1.0)
    assert not driver.waits(0, 1, "no space", 9.5)
    assert driver.lost
    assert driver.ended_because == "checkpoints cannot be written or read: no space"
    # Nothing is written any more.
    driver.leave()
    assert job.trial.state == "running"


def test_crashes_are_retried_so_often() -> None:
    storage = InMemoryStorage()
    driver = open_driver(storage, trials=2, retries=2)
    trial = crash(driver, "crashed", 2)
    assert trial.state == "interrupted"
    assert storage.get_trial(0).state == TrialState.WAITING
    trial = crash(driver, "hung", 1)
    assert [attempt.why for attempt in trial.attempts] == ["start", "retry", "retry"]
    assert trial.attempts[2].reason == "attempt 2 crashed"
    assert (trial.state, trial.error) == ("failed", "attempt 3 hung")
    assert storage.get_trial(0).state == TrialState.FAIL
    # The other one is not touched by it.
    finish(driver)
    assert driver.study.trials[1].state == "finished"


@pytest.mark.parametrize("kind", ["diverged", "refused"])
def test_what_would_happen_again_is_not_retried(kind: str) -> None:
    driver = open_driver(InMemoryStorage(), trials=1)
    assert crash(driver, kind, 1).state == "failed"


def test_out_of_memory_halves_the_micro_batch_until_nothing_is_left_to_halve() -> None:
    driver = open_driver(InMemoryStorage(), trials=1, retries=0)
    trial = crash(driver, "out of memory", 6)
    # The batch is of 32.
    assert [attempt.micro_batch for attempt in trial.attempts] == [None, 16, 8, 4, 2, 1]
    assert {attempt.why for attempt in trial.attempts[1:]} == {"out of memory"}
    assert (trial.state, trial.error) == ("failed", "attempt 6 out of memory")


def test_failures_survive_the_driver() -> None:
    storage = InMemoryStorage()
    crash(open_driver(storage, trials=1, retries=1), "out of memory", 2)
    crash(open_driver(storage, trials=1, retries=1), "crashed", 1)
    trial = crash(open_driver(storage, trials=1, retries=1), "crashed", 1)
    assert [(attempt.why, attempt.micro_batch) for attempt in trial.attempts] == [
        ("start", None),
        ("out of memory", 16),
        ("out of memory", 8),
        ("retry", 8),
    ]
    assert trial.state == "failed"
