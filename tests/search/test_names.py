"""Names of trials: what differs from the recipe, the most telling fields first."""

from typing import Any

import pytest

from minbert.config import recipe
from search.record import short_name

# Fields that equal the recipe's train the same, whatever the scale of the weights.
SAME = {"loss_weights": (1 / 3, 1 / 3, 1 / 3), "optimizer": "adamw", "batch_size": 32}


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"lr": 3e-4}, "lr=0.0003"),
        ({"loss_weights": (1, 2, 1)}, "α=0.25 β=0.50 γ=0.25"),
        (
            {"dropout": 0.25, "lr": 3e-4, "sts_head": "linear"},
            "sts_head=linear lr=0.0003 dropout=0.25",
        ),
        (
            {"dropout": 0.25, "warmup": 0.0, "lr": 3e-4, "sts_head": "linear", "negatives": 1.0},
            "sts_head=linear lr=0.0003 negatives=1 +2",
        ),
        ({"loss_weights": (1, 2, 1), "lr": 3e-4, "pooling": "cls", "layer_decay": 0.9},
         "pooling=cls α=0.25 β=0.50 γ=0.25 lr=0.0003 +1"),
    ],
)  # fmt: skip
def test_a_name_says_what_differs_from_the_recipe(fields: dict[str, Any], name: str) -> None:
    base = recipe("strong")
    given = SAME | fields
    assert short_name(given, base.replace(**given), base) == name
