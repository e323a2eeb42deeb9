"""Hyperparameters of a search in TensorBoard: their types and domains, and a row for each trial."""

from collections.abc import Callable

import pytest
from tensorboard.plugins.hparams import api_pb2, metadata  # type: ignore[import-untyped]

from search.record import TrialRecord
from search.review.tensorboard.log import domain_of, run_name

from .logged_search import Search, about_hparams, points, row, text_of


def test_hyperparameters_have_their_types_and_domains(search: Callable[..., Search]) -> None:
    # Another learning rate and another batch size than the space has.
    one = search(trials=4, try_=["lr=2e-3,batch_size=128"]).go().end()
    experiment = metadata.parse_experiment_plugin_data(
        about_hparams(one.folder, metadata.EXPERIMENT_TAG)
    )
    interval = {
        info.name: (info.domain_interval.min_value, info.domain_interval.max_value)
        for info in experiment.hparam_infos
        if info.type == api_pb2.DATA_TYPE_FLOAT64
    }
    discrete = {
        info.name: [value.string_value for value in info.domain_discrete.values]
        for info in experiment.hparam_infos
        if info.type == api_pb2.DATA_TYPE_STRING
    }
    # The schedule, which is the same in all trials, would be an idle column.
    assert interval == {
        "α": (0, 1),
        "β": (0, 1),
        "γ": (0, 1),
        "batch_size": (16, 128),
        "lr": (1e-5, 2e-3),
    }
    assert discrete == {
        "optimizer": ["adamw", "radam"],
        "ended": ["failed", "finished", "interrupted", "paused", "stopped"],
    }
    shown = [(info.name.tag, info.display_name) for info in experiment.metric_infos]
    names = ["score", "sst", "para", "sts", "epochs", "seconds"]
    assert shown == [(f"result/{name}", name) for name in names]


def test_domains_hold_what_there_is() -> None:
    for values, kind, interval, discrete in (
        ([0.3, 0.1], api_pb2.DATA_TYPE_FLOAT64, (0.1, 0.3), []),
        ([3, 8, 1], api_pb2.DATA_TYPE_FLOAT64, (1, 8), []),
        ([True, False, True], api_pb2.DATA_TYPE_BOOL, (0, 0), [False, True]),
        (["b", "a", "b"], api_pb2.DATA_TYPE_STRING, (0, 0), ["a", "b"]),
    ):
        info = api_pb2.HParamInfo()
        domain_of(values).update_hparam_info(info)
        assert info.type == kind
        assert (info.domain_interval.min_value, info.domain_interval.max_value) == interval
        found = [getattr(v, v.WhichOneof("kind")) for v in info.domain_discrete.values]
        assert found == discrete


@pytest.mark.usefixtures("_no_picture")
@pytest.mark.parametrize(("most", "unfinished"), [(8, "paused"), (11, "interrupted")])
def test_every_trial_is_a_row_with_its_own_values(
    most: int, unfinished: str, search: Callable[..., Search]
) -> None:
    one = search().go(most).end()
    states = [trial.state for trial in one.trials]
    assert set(states) == {"finished", "stopped", "failed", unfinished}
    for trial in one.trials:
        values, status = row(one.folder / run_name(trial))
        config = trial.config
        assert values == {
            **dict(zip("αβγ", trial.weights.values(), strict=True)),
            "optimizer": config.optimizer,
            "batch_size": config.batch_size,
            "lr": config.lr,
            "ended": trial.state,
        }
        over = {"finished": api_pb2.STATUS_SUCCESS, "failed": api_pb2.STATUS_FAILURE}
        over["stopped"] = api_pb2.STATUS_SUCCESS
        assert status == over.get(trial.state)
    # Each row is a group of its own: two rows are never merged.
    failed = one.folder / run_name(one.trials[3])
    start = metadata.parse_session_start_info_plugin_data(
        about_hparams(failed, metadata.SESSION_START_INFO_TAG)
    )
    assert start.group_name == failed.name
    assert points(failed) == {"result/epochs": [(0, 0.0)], "result/seconds": [(0, 0.0)]}


def test_a_configuration_that_was_refused_is_not_shown_as_the_recipes(
    search: Callable[..., Search],
) -> None:
    one = search(trials=2)
    refused = TrialRecord(1, "refused", {}, one.plan.base, origin="tpe", error="lr: too high")
    one.driver.study.add_trial(refused)
    one.log.ended(refused)
    assert row(one.folder / "001 refused") == ({"ended": "failed"}, api_pb2.STATUS_FAILURE)
    assert "Differences from" not in text_of(one.folder / "001 refused")
    assert "recipe" not in text_of(one.folder / "001 refused")
