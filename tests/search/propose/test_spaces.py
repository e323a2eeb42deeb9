"""Spaces: the simplex, what is built in, and a user's own file with its errors."""

import random
from pathlib import Path

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from minbert.config import RECIPES, TrainConfig
from minbert.errors import InputError
from minbert.weights import Weights
from search.propose.branches import check_space, describe, explore
from search.propose.points import locate
from search.propose.spaces import built_in_spaces, load_space
from spaces.paper import EXPERIMENTS
from spaces.weights import unit_square_at, weights_at

unit = st.floats(0, 1)


# The simplex


def test_centre_of_the_simplex_is_equal_weights() -> None:
    assert weights_at(4 / 9, 1 / 2) == pytest.approx((1 / 3, 1 / 3, 1 / 3))


@pytest.mark.parametrize(
    ("u", "v", "weights"),
    [(0, 0.3, (1, 0, 0)), (1, 1, (0, 1, 0)), (1, 0, (0, 0, 1)), (0.25, 0.2, (0.5, 0.1, 0.4))],
)
def test_known_points_of_the_simplex(
    u: float, v: float, weights: tuple[float, float, float]
) -> None:
    assert weights_at(u, v) == pytest.approx(weights)


@given(unit, unit)
def test_every_point_is_three_weights_that_add_up_to_one(u: float, v: float) -> None:
    weights = weights_at(u, v)
    assert min(weights) >= 0
    assert sum(weights) == pytest.approx(1)


@given(st.floats(1e-6, 1), unit)
def test_the_simplex_is_inverted_exactly(u: float, v: float) -> None:
    assert unit_square_at(weights_at(u, v)) == pytest.approx((u, v), rel=1e-9, abs=1e-9)


@given(st.tuples(*[st.floats(0.01, 100)] * 3))
def test_inverse_takes_weights_of_any_scale(three: tuple[float, float, float]) -> None:
    back = weights_at(*unit_square_at(Weights(*three)))
    assert back == pytest.approx([weight / sum(three) for weight in three])


def test_the_inverse_of_all_weight_on_sst_gives_it_back() -> None:
    assert weights_at(*unit_square_at(Weights(3, 0, 0))) == (1, 0, 0)


def test_weights_are_uniform_on_the_simplex() -> None:
    # Of a uniform point, each weight has the distribution Beta(1, 2), and the share that one of
    # the other two has of what is left is uniform.
    draw = random.Random(0)
    points = [weights_at(draw.random(), draw.random()) for _ in range(4000)]
    for task in range(3):
        rest = [
            point[(task + 1) % 3] / (point[(task + 1) % 3] + point[(task + 2) % 3])
            for point in points
        ]
        assert stats.kstest([point[task] for point in points], stats.beta(1, 2).cdf).pvalue > 0.01
        assert stats.kstest(rest, "uniform").pvalue > 0.01


# What is built in


def test_spaces_of_the_package() -> None:
    names = {"weights", "lr", "optimizer", "negatives", "full", "paper"}
    assert set(built_in_spaces()) == names


@pytest.mark.parametrize("name", ["weights", "lr", "optimizer", "negatives", "full"])
def test_every_draw_of_a_built_in_space_is_a_valid_configuration(name: str) -> None:
    space = load_space(name)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    base = RECIPES["strong"]
    configurations = [space.configure(space.propose(study.ask()), base) for _ in range(100)]
    assert len(set(map(str, configurations))) == 100 if name != "negatives" else 17
    for config in check_space(space, base):
        assert config.objective == base.objective


def test_exploring_finds_parameters_inside_branches() -> None:
    names = set(explore(load_space("full")).parameters)
    assert {"radam_lr", "negative_strategy", "sampling_exponent", "para_head"} <= names


def test_negative_strategy_is_varied_only_with_negatives() -> None:
    proposals = explore(load_space("negatives")).proposals
    assert {"negatives": 0.0} in proposals
    assert {"negatives": 0.5, "negative_strategy": "hard"} in proposals
    assert all(("negative_strategy" in fields) == (fields["negatives"] > 0) for fields in proposals)


def test_people_are_shown_weights_and_not_the_unit_square() -> None:
    rows = describe(load_space("weights"))
    assert rows == [("loss_weights", "α, β, γ ≥ 0 with α + β + γ = 1, uniform")]
    assert ("lr", "5e-06 to 0.001, log-uniform") in describe(load_space("lr"))
    assert ("negatives", "0 to 4 in steps of 0.5") in describe(load_space("negatives"))
    assert ("radam_weight_decay", "0.0001 to 0.1, log-uniform (with optimizer=radam)") in describe(
        load_space("optimizer")
    )


def test_paper_space_is_the_eight_experiments() -> None:
    space = load_space("paper")
    assert space.recipe == "paper"
    paper = RECIPES["paper"]
    configs = [space.configure(experiment.changes, paper) for experiment in EXPERIMENTS]
    assert [config.epochs for config in configs] == [10, 1, 1, 1, 1, 1, 6, 6]
    assert configs[0].train_tasks == ("sst",)
    heads = ["linear", "linear", "linear_cosine", "cosine", "cosine", "cosine", "cosine", "cosine"]
    assert [config.sts_head for config in configs] == heads
    assert [config.optimizer for config in configs].index("radam") == 4
    assert [config.negatives for config in configs] == [0, 0, 0, 0, 0, 1, 1, 1]
    assert configs[6] == paper
    assert configs[7] == RECIPES["paper-weighted"]
    rows = dict(describe(space))
    assert rows["7. 6 epochs, any task"] == "epochs=6, the recipe itself: trial 0"
    assert sum("trial 0" in text for text in rows.values()) == 1


# Where a configuration lies


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("name", ["weights", "lr", "optimizer", "negatives", "full"])
def test_a_point_of_a_built_in_space_is_found_from_its_configuration(
    name: str, recipe: str
) -> None:
    space, base = load_space(name), RECIPES[recipe]
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(50):
        trial = study.ask()
        found = locate(space, space.configure(space.propose(trial), base), base)
        assert found is not None
        params, distributions = found
        # The loss weights are rounded, and so are the two numbers that they come from.
        assert params == {
            name: pytest.approx(value, rel=1e-9) if isinstance(value, float) else value
            for name, value in trial.params.items()
        }
        assert distributions == trial.distributions


@pytest.mark.parametrize(
    ("name", "recipe", "params"),
    [
        ("weights", "strong", {"u": 4 / 9, "v": 1 / 2}),
        ("lr", "paper", {"lr": 1e-5}),
        ("negatives", "paper", {"negatives": 1.0, "negative_strategy": "random"}),
        # No weight decay lies below the range.
        ("optimizer", "paper", None),
        ("full", "paper", None),
        ("paper", "paper", None),
    ],
)
def test_where_recipes_lie(name: str, recipe: str, params: dict[str, float] | None) -> None:
    found = locate(load_space(name), RECIPES[recipe], RECIPES[recipe])
    assert (found and found[0]) == (params and pytest.approx(params))


def test_a_configuration_outside_of_a_space_is_not_found() -> None:
    base = RECIPES["strong"]
    for name, changes in (
        ("lr", {"lr": 1.0}),
        ("negatives", {"negatives": 0.3}),
        ("optimizer", {"optimizer": "radam", "warmup": 0.1}),
        ("weights", {"lr": 1e-4}),
    ):
        assert locate(load_space(name), base.replace(**changes), base) is None


def test_at_of_an_own_file_finds_parameters_of_other_names(tmp_path: Path) -> None:
    text = (
        "def space(trial):\n"
        "    lr = trial.suggest_float('encoder_lr', 1e-5, 1e-3)\n"
        "    return {'lr': lr, 'dropout': trial.suggest_float('dropout', 0, 0.5)}\n"
    )
    base = TrainConfig(lr=1e-4, dropout=0.25)
    assert locate(load_space(write(tmp_path, text)), base, base) is None
    at = "def at(config):\n    return {'encoder_lr': config.lr}\n"
    found = locate(load_space(write(tmp_path, text + at)), base, base)
    assert found is not None
    assert found[0] == {"encoder_lr": 1e-4, "dropout": 0.25}
    outside = "def at(config):\n    return None\n"
    assert locate(load_space(write(tmp_path, text + outside)), base, base) is None


@pytest.mark.parametrize(
    ("at", "line", "words"),
    [
        ("def at(config):\n    return {'lr': config.rate}\n", 4, "AttributeError"),
        ("def at(config):\n    return config.lr\n", 3, "at() returned float, not a dict or None"),
        ("SHOWN = ['lr']\n", 1, "SHOWN must be a dict"),
    ],
)
def test_errors_in_what_a_file_may_offer_are_told_before_a_search(
    tmp_path: Path, at: str, line: int, words: str
) -> None:
    path = write(tmp_path, "def space(trial):\n    return {'lr': 1e-4}\n" + at)
    with pytest.raises(InputError) as caught:
        check_space(load_space(path), TrainConfig())
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert words in str(caught.value)


# A user's own file


def write(folder: Path, text: str) -> str:
    path = folder / "mine.py"
    path.write_text(text)
    return str(path)


def test_own_file_is_loaded(tmp_path: Path) -> None:
    text = (
        '"""My space.\n\nMore."""\n'
        "def space(trial):\n"
        "    return {'lr': trial.suggest_float('lr', 1e-5, 1e-4)}\n"
    )
    space = load_space(write(tmp_path, text))
    assert (space.name, space.description) == ("mine", "My space.")
    assert describe(space) == [("lr", "1e-05 to 0.0001")]
    rates = [config.lr for config in check_space(space, TrainConfig())]
    assert rates[:2] == [1e-5, 1e-4]
    assert all(1e-5 <= rate <= 1e-4 for rate in rates)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("x = 1\ndef space(trial)\n    return {}\n", 2, "SyntaxError: expected ':'"),
        ("import math\nmath.sqrt(-1)\n", 2, "ValueError"),
        ("import nowhere_at_all\n", 1, "ModuleNotFoundError"),
        ("def spaces(trial):\n    return {}\n", 1, "no function space(trial)"),
        ("def space(trial):\n    x = 1\n    return {'lr': x / 0}\n", 3, "ZeroDivisionError"),
        ("def space(trial):\n    return 3\n", 1, "returned int, not a dict"),
        ("def space(trial):\n    return {\n        'lrr': 1e-5}\n", 3, "did you mean 'lr'?"),
        ("def space(trial):\n    a = 0\n    return dict(\n        lr=-1.0)\n", 4, "lr: must be"),
        ("def space(trial):\n    a = {}\n    a['batch_size'] = 0\n    return a\n", 3, "batch_size"),
        ("def space(trial):\n\n    return {'objective': (1, 0, 0)}\n", 3, "fixed for a study"),
        (
            "def space(trial):\n    trial.suggest_float('lr', 2.0, 1.0)\n    return {}\n",
            2,
            "ValueError",
        ),
        (
            "def space(trial):\n"
            "    if trial.suggest_categorical('a', [1, 2]) == 2:\n"
            "        if trial.suggest_int('b', 0, 9) == 7:\n"
            "            raise RuntimeError('two\\nlines')\n"
            "    return {}\n",
            4,
            "RuntimeError: two lines",
        ),
    ],
)
def test_error_in_own_file_names_file_and_line(
    tmp_path: Path, text: str, line: int, words: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InputError) as caught:
        check_space(load_space(path), TrainConfig())
    message = str(caught.value)
    assert message.startswith(f"{path}:{line}: ")
    assert words in message
    assert "\n" not in message


def test_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load_space(str(tmp_path / "none.py"))


def test_unknown_name_lists_the_spaces() -> None:
    with pytest.raises(InputError, match="unknown space 'weight'; did you mean 'weights'"):
        load_space("weight")
