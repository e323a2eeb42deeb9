"""Linear layers by oneDNN beside those by BLAS, and the choice between them."""

import pytest
import torch
import torch.nn.functional as F

from minbert import linear
from minbert.errors import InputError
from minbert.linear import Linear, check_backend, fastest_backend, use_backend

needs_onednn = pytest.mark.skipif(not linear._has_onednn(), reason="needs oneDNN")


@pytest.fixture(autouse=True)
def _probe_again() -> None:
    linear._probe.cache_clear()


@needs_onednn
@pytest.mark.parametrize("tokens", [1, 7, 300])
@pytest.mark.parametrize(("inputs", "outputs"), [(384, 1152), (384, 384), (1536, 384), (24, 5)])
def test_values_and_gradients(tokens: int, inputs: int, outputs: int) -> None:
    torch.manual_seed(0)
    layer = Linear(inputs, outputs)
    found = {}
    x = torch.randn(tokens, inputs, requires_grad=True)
    weight = torch.randn(tokens, outputs)
    for backend in ("blas", "onednn"):
        use_backend(layer, check_backend(backend))
        output = layer(x)
        gradients = torch.autograd.grad((output * weight).sum(), [x, layer.weight, layer.bias])
        found[backend] = [each.detach() for each in (output, *gradients)]
    for one, other in zip(found["blas"], found["onednn"], strict=True):
        assert float((one - other).abs().max()) <= 1e-5 * float(one.abs().max())


@needs_onednn
def test_the_first_layer_has_no_gradient_of_its_input() -> None:
    layer = Linear(8, 3)
    layer.backend = "onednn"
    torch.autograd.backward(layer(torch.ones(2, 8)).sum())
    assert layer.bias.grad is not None
    assert layer.bias.grad.tolist() == [2.0] * 3


def timed(monkeypatch: pytest.MonkeyPatch, blas: list[float], onednn: list[float]) -> None:
    monkeypatch.setattr(linear, "seconds", lambda *_: {"blas": blas, "onednn": onednn})


@needs_onednn
@pytest.mark.parametrize(
    ("blas", "onednn", "chosen"),
    [
        ([2, 2, 2, 2, 2], [1, 1, 1, 1, 1], "onednn"),
        ([1.1, 1.1, 1.1, 1.1, 1.1], [1, 1, 1, 1, 1], "blas"),
        ([1, 1, 1, 1, 1], [2, 2, 2, 2, 2], "blas"),
        # One disturbed round changes nothing, in favour of either.
        ([2, 2, 2, 2, 2], [1, 9, 1, 1, 1], "onednn"),
        ([1, 1, 9, 1, 1], [1, 1, 1, 1, 1], "blas"),
    ],
)
def test_the_clearly_faster_one_is_chosen(
    blas: list[float], onednn: list[float], chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed(monkeypatch, blas, onednn)
    assert fastest_backend(256, 1024) == chosen


def test_without_the_operator_only_torchs_own_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> None:
        raise AttributeError("'_OpNamespace' 'mkldnn' object has no attribute '_linear_pointwise'")

    monkeypatch.setattr(linear, "_product", gone)
    assert set(linear.seconds(128, 256)) == {"blas"}
    assert fastest_backend(128, 256) == "blas"


def test_what_differs_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "_product", lambda x, w, b=None: F.linear(x, w, b) * 1.01)
    assert set(linear.seconds(128, 256)) == {"blas"}


@needs_onednn
def test_all_products_of_a_layer_are_measured() -> None:
    assert {name: len(each) for name, each in linear.seconds(128, 256).items()} == {
        "blas": 5,
        "onednn": 5,
    }
    # Two operations for each token and weight: forward, to the input, to the weight.
    weights = 128 * 384 + 128 * 128 + 2 * 128 * 256
    assert linear.operations(128, 256) == 3 * 2 * 256 * weights


def test_small_encoders_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    timed(monkeypatch, [2.0] * 5, [1.0] * 5)
    assert fastest_backend(64, 256) == "blas"


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(InputError, match="unknown back-end of linear layers 'mkl'"):
        check_backend("mkl")
