import argparse

import pytest
from hypothesis import given as given_any
from hypothesis import strategies as st

from minbert.config import RECIPES, InputSettings, TrainConfig, recipe
from minbert.errors import InputError
from minbert.settings import add_options, as_text, given, make_parser
from minbert.weights import Weights


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ({"lr": "fast"}, "lr: must be a valid number"),
        ({"lr": "nan"}, "lr: must be"),
        ({"batch_size": 0}, "batch_size: must be greater than or equal to 1"),
        ({"negatives": 5}, "negatives: must be less than or equal to 4"),
        ({"loss_weights": "1,-1,1"}, "loss_weights: weights must be finite numbers of at least 0"),
        ({"loss_weights": "0,0,0"}, "loss_weights: weights must not all be zero"),
        ({"loss_weights": "1,nan,1"}, "loss_weights: weights must be finite"),
        ({"objective": "1,1"}, "objective: give three weights"),
        ({"train_tasks": "sst,qqp"}, "train_tasks: unknown value 'qqp'; there are: sst, para, sts"),
        ({"batch_sizes": 3}, "unknown setting 'batch_sizes'; did you mean 'batch_size'"),
        ({"pair_encoding": "joint"}, "para_head: difference needs pair_encoding separate"),
        ({"para_head": "linear_cosine"}, "para_head: linear_cosine is a similarity head only"),
    ],
)
def test_wrong_value_is_one_line_that_names_it(setting: dict[str, object], problem: str) -> None:
    with pytest.raises(InputError) as error:
        TrainConfig.check(setting)
    assert str(error.value).startswith(problem)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_survives_json(name: str) -> None:
    config = recipe(name)
    assert TrainConfig.model_validate_json(config.model_dump_json()) == config


def test_paper_recipe_is_the_reports() -> None:
    paper, weighted = recipe("paper"), recipe("paper-weighted")
    assert (paper.lr, paper.batch_size, paper.epochs, paper.select) == (1e-5, 8, 6, "any_task")
    assert (paper.sts_head, paper.negatives, paper.optimizer) == ("cosine", 1.0, "adamw")
    assert weighted.loss_weights == Weights(1, 1, 1)
    assert weighted.weights_to_select_by == Weights(1.5, 1, 1.5)


def test_unknown_recipe_lists_what_there_is() -> None:
    with pytest.raises(InputError, match=r"did you mean 'strong'.*paper, paper-weighted"):
        recipe("strnog")


def test_selection_weights_follow_the_loss_weights_unless_set_apart() -> None:
    config = TrainConfig.check({"loss_weights": "1,2,3"})
    assert config.weights_to_select_by == Weights(1, 2, 3)
    apart = config.replace(selection_weights="1,1,0")
    assert apart.weights_to_select_by == Weights(1, 1, 0)
    assert apart.replace(selection_weights="none").weights_to_select_by == Weights(1, 2, 3)


def test_tasks_are_put_in_order_and_once() -> None:
    assert TrainConfig.check({"train_tasks": "sts,sst,sts"}).train_tasks == ("sst", "sts")


def test_toy_data_default_to_two_layers() -> None:
    assert InputSettings().encoder_layers == 2
    assert InputSettings(layers=4).encoder_layers == 4
    assert InputSettings(data="glue").encoder_layers is None
    assert InputSettings(encoder="tiny").encoder_layers is None


def parse(*words: str) -> argparse.Namespace:
    parser = make_parser("program", "")
    add_options(parser, InputSettings, TrainConfig)
    return parser.parse_args(words)


def test_only_what_the_command_line_gave_is_given() -> None:
    arguments = parse("--lr", "2e-5", "--loss-weights", "1,2,3", "--strict")
    assert given(arguments, TrainConfig) == {"lr": "2e-5", "loss_weights": "1,2,3"}
    assert InputSettings.check(given(arguments, InputSettings)).strict is True


def test_misspelt_option_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse("--batchsize", "3")
    assert end.value.code == 2
    assert capsys.readouterr().err == (
        "error: unknown option '--batchsize'; did you mean '--batch-size'?; see program --help\n"
    )


def test_every_option_has_a_help_text() -> None:
    for settings in (InputSettings, TrainConfig):
        for name, field in settings.model_fields.items():
            assert field.description, name


@given_any(st.floats(allow_nan=False))
def test_a_number_is_told_as_it_would_have_to_be_typed(value: float) -> None:
    assert float(as_text(value)) == value


def test_a_number_is_told_shortly_where_that_is_enough() -> None:
    assert as_text((1.0, 2e-5, 0.333333333)) == "1,2e-05,0.333333333"


def test_selection_weights_imply_that_they_are_used() -> None:
    strong = recipe("strong")
    assert strong.select == "objective"
    assert strong.replace(selection_weights=(1, 1, 2)).select == "weighted"
    assert strong.replace(selection_weights=(1, 1, 2), select="last").select == "last"
    assert strong.replace(selection_weights="none").select == "objective"
    assert recipe("paper").replace(selection_weights=(1, 1, 2)).select == "any_task"


@pytest.mark.parametrize(("old", "new"), TrainConfig.renamed.items())
def test_an_old_name_ends_with_the_new_one(old: str, new: str) -> None:
    with pytest.raises(InputError, match=f"^'{old}' is now '{new}'$"):
        TrainConfig.check({old: "last"})
    assert new in TrainConfig.model_fields
