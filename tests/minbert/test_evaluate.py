from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch

from minbert.batching import pack
from minbert.config import TrainConfig
from minbert.encoder import Encoder
from minbert.errors import InputError
from minbert.evaluate import evaluate, grade, predict_split, write_predictions
from minbert.examples import Dataset
from minbert.hub import Pretrained
from minbert.model import MultitaskModel
from minbert.tasks import TASK_NAMES
from tests.in_process import warnings_are_errors


@pytest.fixture
def model(tiny: Pretrained) -> MultitaskModel:
    torch.manual_seed(0)
    return MultitaskModel(Encoder.from_pretrained(tiny, 0.1), TrainConfig(), TASK_NAMES, 5)


def test_sentiment_by_hand() -> None:
    result = grade("sst", np.array([0, 0, 1, 1, 0.0]), np.array([0, 1, 1, 1, 2.0]), classes=3)
    assert result.score == pytest.approx(3 / 5)
    assert result.metrics["confusion"] == [[1, 0, 0], [1, 2, 0], [1, 0, 0]]
    # F1: 2·1/(3+1), 2·2/(2+3), and 0 for the class that is never predicted.
    assert result.metrics["macro_f1"] == pytest.approx((0.5 + 0.8 + 0.0) / 3)


def test_paraphrase_by_hand() -> None:
    result = grade("para", np.array([0.9, 0.6, 0.2, 0.5]), np.array([1.0, 0, 1, 0]), classes=0)
    assert result.score == 0.5
    assert result.metrics["f1"] == pytest.approx(2 * 1 / (2 + 2))


@pytest.mark.parametrize("decimals", [0, 1, 6])  # few decimals make many ties
def test_similarity_against_scipy(decimals: int) -> None:
    random = np.random.default_rng(0)
    labels = random.uniform(0, 5, 50).astype(np.float32).round(decimals)
    predictions = (labels + random.normal(size=50).astype(np.float32)).round(decimals)
    result = grade("sts", predictions, labels, classes=0)
    assert result.score == pytest.approx(scipy.stats.pearsonr(predictions, labels)[0], abs=1e-6)
    assert result.metrics["spearman"] == pytest.approx(
        scipy.stats.spearmanr(predictions, labels)[0]
    )


@warnings_are_errors()
def test_constant_similarities_score_0_and_are_flagged() -> None:
    result = grade("sts", np.full(4, 2.5), np.array([0.0, 1, 2, 3]), classes=0)
    assert (result.score, result.metrics["constant"]) == (0.0, True)


def test_predictions_do_not_depend_on_how_examples_are_batched(
    model: MultitaskModel, dataset: Dataset
) -> None:
    split = dataset.splits["sts"]["dev"]
    together = predict_split(model, dataset, split)
    model.eval()
    with torch.inference_mode():
        for row in range(len(split)):
            alone = model(
                "sts", pack(split, np.array([row]), False, dataset.cls_id, dataset.sep_id)
            )
            assert together[row] == pytest.approx(float(model.predictions("sts", alone)), abs=1e-5)


def test_evaluation_leaves_the_model_training(model: MultitaskModel, dataset: Dataset) -> None:
    model.train()
    results = evaluate(model, dataset)
    assert model.training
    assert list(results) == list(TASK_NAMES)


def test_model_with_fewer_classes_than_the_data_is_refused(
    tiny: Pretrained, dataset: Dataset
) -> None:
    model = MultitaskModel(Encoder.from_pretrained(tiny, 0.1), TrainConfig(), TASK_NAMES, 3)
    with pytest.raises(InputError, match="5 sentiment classes, the model 3"):
        evaluate(model, dataset)


def test_predictions_are_in_the_courses_format(tmp_path: Path, dataset: Dataset) -> None:
    predictions = {
        "sst": np.arange(8) % 5.0,
        "para": np.linspace(0.2, 0.9, 8),
        "sts": np.linspace(0, 5, 8),
    }
    write_predictions(tmp_path, dataset, "test", predictions)  # type: ignore[arg-type]  # plain keys
    lines = {path.name: path.read_text().split("\n")[:2] for path in tmp_path.iterdir()}
    assert lines == {
        "sst-test-output.csv": ["id \t Predicted_Sentiment ", "ids-sst-test-student-0 , 0 "],
        "para-test-output.csv": ["id \t Predicted_Is_Paraphrase ", "quora-test-student-0 , 0 "],
        "sts-test-output.csv": ["id \t Predicted_Similiary ", "sts-test-student-0 , 0.000 "],
    }
    assert (tmp_path / "para-test-output.csv").read_text().endswith(" , 1 \n")
