import numpy as np
import pytest
import torch

from minbert.batching import pack
from minbert.config import TrainConfig
from minbert.encoder import Encoder
from minbert.examples import Dataset
from minbert.hub import Pretrained
from minbert.model import MultitaskModel
from minbert.optim import parameter_groups, schedule_factor
from minbert.tasks import Task

ROWS = np.arange(6)


def make(tiny: Pretrained, dataset: Dataset, **changes: object) -> MultitaskModel:
    torch.manual_seed(0)
    config = TrainConfig().replace(**changes)
    encoder = Encoder.from_pretrained(tiny, config.dropout)
    return MultitaskModel(encoder, config, dataset.tasks, dataset.classes).eval()


def outputs(model: MultitaskModel, dataset: Dataset, task: Task) -> torch.Tensor:
    split = dataset.splits[task]["train"]
    packed = pack(split, ROWS, model.is_joint, dataset.cls_id, dataset.sep_id)
    out: torch.Tensor = model(task, packed)
    return out


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("hidden_layers", [0, 1, 2])
@pytest.mark.parametrize("head", ["linear", "linear_cosine", "cosine", "difference"])
def test_every_head_answers_on_its_scale(
    tiny: Pretrained, dataset: Dataset, pooling: str, hidden_layers: int, head: str
) -> None:
    model = make(
        tiny,
        dataset,
        pooling=pooling,
        sts_head=head,
        sts_hidden_layers=hidden_layers,
        para_head="cosine" if head == "linear_cosine" else head,
        para_hidden_layers=hidden_layers,
    )
    assert outputs(model, dataset, "sst").shape == (6, 5)
    for task, low, high in (("para", 0, 1), ("sts", 0, 5)):
        out = outputs(model, dataset, task)  # type: ignore[arg-type]  # a literal in a tuple
        predictions = model.predictions(task, out)  # type: ignore[arg-type]
        assert out.shape == predictions.shape == (6,)
        assert ((predictions >= low) & (predictions <= high)).all()


def test_joint_pairs_are_one_sequence(tiny: Pretrained, dataset: Dataset) -> None:
    model = make(tiny, dataset, pair_encoding="joint", para_head="linear", sts_head="linear")
    assert outputs(model, dataset, "para").shape == (6,)
    assert model.heads["para"].layers[-1].in_features == tiny.config.hidden_size  # type: ignore[index,union-attr]


def test_one_number_then_cosine_can_only_say_yes_or_no(tiny: Pretrained, dataset: Dataset) -> None:
    model = make(tiny, dataset, sts_head="linear_cosine")
    out = outputs(model, dataset, "sts")
    assert torch.allclose(out.abs(), torch.ones_like(out), atol=1e-5)
    model.loss("sts", out, torch.full((6,), 2.5)).backward()  # type: ignore[no-untyped-call]
    norms = [float(p.grad.norm()) for p in model.parameters() if p.grad is not None]
    assert max(norms) < 1e-4


def test_losses_by_hand(tiny: Pretrained, dataset: Dataset) -> None:
    model = make(tiny, dataset)  # cosine head: trained towards similarity / 5
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0, 0.0]])
    assert float(model.loss("sst", logits, torch.tensor([3.0]))) == pytest.approx(np.log(5))
    assert float(model.loss("para", torch.tensor([0.0, 0.0]), torch.tensor([0.0, 1.0]))) == (
        pytest.approx(np.log(2))
    )
    cosines = torch.tensor([0.5, 1.0])
    assert float(model.loss("sts", cosines, torch.tensor([5.0, 5.0]))) == pytest.approx(0.125)
    plain = make(tiny, dataset, sts_head="difference")
    assert float(plain.loss("sts", torch.tensor([4.0]), torch.tensor([1.0]))) == pytest.approx(9.0)
    assert model.predictions("sts", torch.tensor([-0.5, 0.5, 1.0])).tolist() == [0.0, 2.5, 5.0]
    assert plain.predictions("sts", torch.tensor([-0.5, 0.5, 7.0])).tolist() == [0.0, 0.5, 5.0]


def test_paraphrase_cosine_is_scaled_and_shifted(tiny: Pretrained, dataset: Dataset) -> None:
    model = make(tiny, dataset, para_head="cosine")
    head = model.heads["para"]
    u = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    v = torch.tensor([[3.0, 0.0], [0.0, 2.0]])
    assert head(u, v).squeeze(-1).tolist() == pytest.approx([5.0, -5.0])


def test_learning_rates_and_decay_of_each_parameter(tiny: Pretrained, dataset: Dataset) -> None:
    model = make(tiny, dataset, lr=1e-4, layer_decay=0.5, head_lr_multiple=3, weight_decay=0.1)
    name_of = {parameter: name for name, parameter in model.named_parameters()}
    found = {
        name_of[parameter]: (group.lr, group.weight_decay)
        for group in parameter_groups(model, model.config)
        for parameter in group.parameters
    }
    assert set(found) == set(name_of.values())
    for name, (lr, decay) in found.items():
        steps_down = {"embeddings": 2, "layers.0": 1, "layers.1": 0, "pooler": 0}
        below = [n for part, n in steps_down.items() if name.startswith("encoder." + part)]
        assert lr == pytest.approx(3e-4 if not below else 1e-4 * 0.5 ** below[0]), name
        assert decay == (0.0 if name.endswith("bias") or "norm" in name else 0.1), name


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        ("constant", [0.5, 1.0, 1.0, 1.0, 1.0]),
        ("linear", [0.5, 1.0, 1.0, 0.5, 0.125]),
        ("cosine", [0.5, 1.0, 1.0, 0.5, 0.5 + 0.5 * np.cos(np.pi * 7 / 8)]),
    ],
)
def test_schedule_by_hand(schedule: str, factors: list[float]) -> None:
    config = TrainConfig().replace(schedule=schedule, warmup=0.2)
    steps = (0, 1, 2, 6, 9)  # of 10: two of warm-up, then eight
    assert [schedule_factor(step, 10, config) for step in steps] == pytest.approx(factors)
