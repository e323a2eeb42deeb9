"""The embedding of words beside torch's, and what its gradient costs."""

import torch
from torch import nn

from minbert.lookup import WordEmbedding


def pair() -> tuple[WordEmbedding, nn.Embedding]:
    torch.manual_seed(0)
    ours, theirs = WordEmbedding(50, 6), nn.Embedding(50, 6)
    with torch.no_grad():
        theirs.weight.copy_(ours.weight)
    return ours, theirs


def go_back(module: nn.Module, ids: torch.Tensor, seed: int) -> None:
    weight = torch.randn(len(ids), 6, generator=torch.Generator().manual_seed(seed))
    torch.autograd.backward((module(ids) * weight).sum())


def test_gradients_are_those_of_torch_step_after_step() -> None:
    ours, theirs = pair()
    draw = torch.Generator().manual_seed(1)
    for step in range(5):
        # Two batches a step, with repeated words in each.
        for part in range(2):
            ids = torch.randint(50, (12,), generator=draw)
            for module in (ours, theirs):
                go_back(module, ids, 10 * step + part)
        assert ours.weight.grad is not None
        assert theirs.weight.grad is not None
        torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)
        for module in (ours, theirs):
            module.weight.grad = None


def test_the_gradient_keeps_its_memory() -> None:
    ours, _ = pair()
    places = set()
    for step in range(3):
        go_back(ours, torch.tensor([step, 7, 7]), step)
        assert ours.weight.grad is not None
        assert ours.weight.grad.abs().sum(1).nonzero().flatten().tolist() == sorted({step, 7})
        places.add(ours.weight.grad.data_ptr())
        ours.weight.grad = None
    assert len(places) == 1


def test_without_gradients_it_only_looks_up() -> None:
    ours, theirs = pair()
    ids = torch.tensor([3, 3, 1])
    with torch.no_grad():
        assert torch.equal(ours(ids), theirs(ids))
    assert torch.equal(ours(ids), theirs(ids))
