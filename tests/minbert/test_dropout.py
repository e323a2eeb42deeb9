"""Dropout's masks: their share, their scale, and that they hang on the seed alone."""

import math

import pytest
import torch

from minbert.dropout import Dropout, keep_mask


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5, 0.9])
def test_share_and_scale(rate: float) -> None:
    torch.manual_seed(0)
    mask, scale = keep_mask((1000, 1001), rate)
    assert mask.dtype == torch.float32
    assert set(mask.flatten().tolist()) == {0.0, 1.0}
    kept = round((1 - rate) * 65536) / 65536
    deviation = math.sqrt(kept * (1 - kept) / mask.numel())
    assert abs(float(mask.mean()) - kept) < 5 * deviation
    assert scale == pytest.approx(1 / kept)
    # All four parts of a word are as likely.
    for part in range(4):
        mean = float(mask.flatten()[part::4].mean())
        assert abs(mean - kept) < 5 * 2 * deviation


def test_neighbours_are_independent() -> None:
    torch.manual_seed(1)
    mask, _ = keep_mask((400_000,), 0.5)
    for distance in (1, 2, 3, 4, 64):
        same = float((mask[distance:] == mask[:-distance]).float().mean())
        assert abs(same - 0.5) < 5 * 0.5 / math.sqrt(len(mask))


@pytest.mark.parametrize("shape", [(), (1,), (3,), (4,), (2, 3, 5)])
def test_any_shape(shape: tuple[int, ...]) -> None:
    assert keep_mask(shape, 0.5)[0].shape == shape


def test_seed_decides_and_threads_do_not() -> None:
    threads = torch.get_num_threads()
    masks = []
    for count in (1, 2):
        torch.set_num_threads(count)
        torch.manual_seed(3)
        masks.append(keep_mask((512, 384), 0.1)[0])
    torch.set_num_threads(threads)
    assert torch.equal(*masks)
    assert not torch.equal(masks[0], keep_mask((512, 384), 0.1)[0])


def test_forward_and_backward_drop_the_same() -> None:
    torch.manual_seed(2)
    dropout = Dropout(0.25)
    for call in (dropout, lambda x: dropout.add(torch.full_like(x, 7.0), x) - 7.0):
        x = torch.ones(1000, requires_grad=True)
        out = call(x)
        torch.autograd.backward(out.sum())
        assert sorted(out.detach().round(decimals=4).unique().tolist()) == pytest.approx(
            [0.0, 4 / 3], abs=1e-3
        )
        assert x.grad is not None
        torch.testing.assert_close(x.grad, out.detach())


@pytest.mark.parametrize(("rate", "left"), [(0.0, 1.0), (1 - 1e-7, 0.0)])
def test_nothing_and_nearly_all(rate: float, left: float) -> None:
    assert Dropout(rate)(torch.ones(500)).tolist() == [left] * 500


def test_none_in_evaluation() -> None:
    dropout = Dropout(0.5).eval()
    x = torch.randn(9)
    assert torch.equal(dropout(x), x)
    assert torch.equal(dropout.add(x, x), 2 * x)
