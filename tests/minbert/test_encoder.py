"""Parity with transformers.BertModel, and what the encoder promises of itself.

Differences are relative to the largest magnitude of the tensor compared.
"""

from collections.abc import Iterator
from typing import Any, get_args

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor

from minbert.batching import Packed, pack_sentences
from minbert.encoder import Encoder, _layout
from minbert.encoder_config import Activation, EncoderConfig
from minbert.errors import InputError
from minbert.hub import load_pretrained

CLS, SEP = 2, 3
TOLERANCE = 1e-5


def small_config(activation: Activation = "gelu") -> EncoderConfig:
    return EncoderConfig(
        vocab_size=90,
        hidden_size=24,
        layers=2,
        heads=3,
        intermediate_size=40,
        max_positions=64,
        segments=2,
        activation=activation,
        layer_norm_eps=1e-12,
    )


def mixed_batch(joint: bool, pairs: int = 6, longest: int = 25) -> Packed:
    """Pairs of random sentences of 1 to ``longest`` tokens; both extremes occur."""
    random = np.random.default_rng(5)
    lengths = random.integers(1, longest, size=2 * pairs)
    lengths[:2] = 1, longest
    tokens = random.integers(4, 90, size=lengths.sum()).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    numbers = np.arange(2 * pairs)
    return pack_sentences(tokens, offsets, numbers[:pairs], numbers[pairs:], joint, CLS, SEP)


def perturbed(encoder: Encoder) -> Encoder:
    """First values leave biases at 0 and LayerNorm at 1, where a mix-up would not show."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return encoder


def reference_of(encoder: Encoder) -> Any:
    config = transformers.BertConfig.from_dict(encoder.config.hugging_face(dropout=0.0))
    model: Any = transformers.BertModel(config)
    model.load_state_dict(encoder.hugging_face_state(), strict=True)
    return model.eval()


def padded(packed: Packed) -> dict[str, Tensor]:
    """The same batch as BertModel takes it: (sequences, longest), 0 where there is no token."""
    place = (packed.sequence_of, packed.positions)
    filled = {}
    for name, values in {
        "input_ids": packed.ids,
        "token_type_ids": packed.segments,
        "attention_mask": torch.ones_like(packed.ids),
    }.items():
        filled[name] = torch.zeros(packed.sequences, packed.longest, dtype=torch.int64)
        filled[name][place] = values
    return filled


def difference(ours: Tensor, theirs: Tensor, scale: Tensor | None = None) -> float:
    """Largest difference, relative to the largest magnitude of ``scale`` (default: theirs)."""
    assert ours.shape == theirs.shape
    largest = (theirs if scale is None else scale).abs().max()
    return ((ours - theirs).abs().max() / largest).item()


def run_both(encoder: Encoder, packed: Packed) -> dict[str, float]:
    """Differences of the outputs and of all gradients between the encoder and BertModel."""
    reference = reference_of(encoder)
    hidden = encoder(packed)
    pooled = encoder.pool_cls(hidden, packed)
    output = reference(**padded(packed))
    theirs = output.last_hidden_state[packed.sequence_of, packed.positions]
    differences = {
        "hidden": difference(hidden, theirs),
        "pooled": difference(pooled, output.pooler_output),
    }

    torch.manual_seed(1)
    to_hidden, to_pooled = torch.randn_like(hidden), torch.randn_like(pooled)
    ((hidden * to_hidden).sum() + (pooled * to_pooled).sum()).backward()
    ((theirs * to_hidden).sum() + (output.pooler_output * to_pooled).sum()).backward()
    with torch.no_grad():
        for parameter in encoder.parameters():
            assert parameter.grad is not None
            parameter.copy_(parameter.grad)
    ours = encoder.hugging_face_state()
    gradients = {name: p.grad for name, p in reference.named_parameters() if p.grad is not None}
    assert ours.keys() == gradients.keys()
    for name, gradient in gradients.items():
        # A key bias adds the same to all scores of a query, which softmax ignores: its gradient is
        # rounding alone. The query bias has the scale that it is rounding of.
        scale = gradients[name.replace("self.key.bias", "self.query.bias")]
        differences[name] = difference(ours[name], gradient, scale)
    return differences


def assert_parity(encoder: Encoder, packed: Packed) -> None:
    differences = run_both(encoder, packed)
    worst = max(differences, key=lambda name: differences[name])
    assert differences[worst] <= TOLERANCE, f"{worst}: {differences[worst]:.2e}"


@pytest.mark.parametrize("joint", [False, True], ids=["separate", "joint"])
@pytest.mark.parametrize("activation", get_args(Activation))
def test_outputs_and_gradients_equal_transformers(activation: Activation, joint: bool) -> None:
    encoder = perturbed(Encoder(small_config(activation), dropout=0.0))
    assert_parity(encoder, mixed_batch(joint))


@pytest.mark.parametrize("joint", [False, True], ids=["separate", "joint"])
def test_minilm_equals_transformers(joint: bool) -> None:
    pretrained = load_pretrained("minilm", layers=2)
    encoder = Encoder.from_pretrained(pretrained, dropout=0.1).eval()
    assert_parity(encoder, mixed_batch(joint, pairs=16, longest=60))


def test_the_saved_state_is_the_exact_inverse_of_loading() -> None:
    pretrained = load_pretrained("tiny")
    state = Encoder.from_pretrained(pretrained, dropout=0.0).hugging_face_state()
    assert state.keys() == pretrained.weights.keys()
    for name, tensor in state.items():
        assert np.array_equal(tensor.numpy(), pretrained.weights[name]), name


def test_loading_copies_the_weights() -> None:
    pretrained = load_pretrained("tiny")
    for array in pretrained.weights.values():
        array.flags.writeable = False  # as Ray's object store hands them out
    encoder = Encoder.from_pretrained(pretrained, dropout=0.0)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.zero_()
    assert pretrained.weights["pooler.dense.weight"].any()


def test_depth_runs_from_embeddings_to_pooler() -> None:
    encoder = Encoder(small_config(), dropout=0.0)
    depths = {name: encoder.depth_of(name) for name, _ in encoder.named_parameters()}
    assert depths["embeddings.words.weight"] == 0
    assert depths["layers.0.qkv.weight"] == 1
    assert depths["layers.1.norm.bias"] == 2
    assert depths["pooler.weight"] == 3
    with pytest.raises(ValueError, match="no parameter"):
        encoder.depth_of("head.weight")


def test_a_sequence_does_not_see_its_neighbours() -> None:
    encoder = perturbed(Encoder(small_config(), dropout=0.0))
    together = mixed_batch(joint=False)
    hidden = encoder(together)
    for number in range(together.sequences):
        mine = together.sequence_of == number
        alone = pack_sentences(
            together.ids[mine][1:-1].numpy(),
            np.array([0, int(mine.sum()) - 2]),
            np.array([0]),
            None,
            False,
            CLS,
            SEP,
        )
        assert difference(encoder(alone), hidden[mine]) <= TOLERANCE


def test_mean_pooling_by_hand() -> None:
    packed = pack_sentences(
        np.array([7, 8, 9]), np.array([0, 1, 3]), np.arange(2), None, False, CLS, SEP
    )
    hidden = torch.tensor([[3.0, 0], [6, 1], [0, 2], [1, 1], [2, 2], [3, 3], [6, 4]])
    pooled = Encoder(small_config(), dropout=0.0).pool_mean(hidden, packed)
    assert pooled.tolist() == [[3.0, 1.0], [3.0, 2.5]]


def gradients(encoder: Encoder, packed: Packed, seed: int) -> list[Tensor]:
    torch.manual_seed(seed)
    hidden = encoder(packed)
    loss = (encoder.pool_cls(hidden, packed) + encoder.pool_mean(hidden, packed)).square().sum()
    # Copied, as that of the words is made in the same memory each time.
    return [each.clone() for each in torch.autograd.grad(loss, list(encoder.parameters()))]


@pytest.fixture
def two_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("two_threads")
def test_training_steps_repeat_bit_for_bit() -> None:
    encoder = perturbed(Encoder(small_config(), dropout=0.2)).train()
    packed = mixed_batch(joint=False, pairs=120)  # large enough for torch to share out the work
    first = gradients(encoder, packed, seed=3)
    for _ in range(3):
        again = gradients(encoder, packed, seed=3)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    other = gradients(encoder, packed, seed=4)
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_no_dropout_in_evaluation() -> None:
    encoder = perturbed(Encoder(small_config(), dropout=0.5))
    packed = mixed_batch(joint=True)
    assert not torch.equal(encoder(packed), encoder(packed))
    encoder.eval()
    assert torch.equal(encoder(packed), encoder(packed))


def test_dropout_stands_where_bert_has_it() -> None:
    """In a layer, dropping nearly everything leaves the residual path and the two LayerNorms."""
    encoder = perturbed(Encoder(small_config(), dropout=1 - 1e-7))
    encoder.embeddings.dropout.p = 0.0
    packed = mixed_batch(joint=True)
    wanted = encoder.embeddings(packed)
    layer: Any
    for layer in encoder.layers:
        wanted = layer.norm(layer.attention_norm(wanted))
    assert torch.allclose(encoder(packed), wanted)


def test_dropout_of_attention_probabilities_keeps_their_expectation() -> None:
    encoder = perturbed(Encoder(small_config(), dropout=0.3))
    packed = mixed_batch(joint=False)
    hidden = encoder.embeddings(packed)
    layer: Any = encoder.layers[0]
    layout = _layout(packed)
    with torch.no_grad():
        draws = torch.stack([layer._attend(hidden, layout) for _ in range(400)])
        layer.eval()
        plain = layer._attend(hidden, layout)
    assert not torch.equal(draws[0], draws[1])
    error = (draws.mean(0) - plain).abs() / (draws.std(0) / 400**0.5 + 1e-6)
    assert error.max() < 6  # standard errors


def test_too_long_a_sequence_is_refused() -> None:
    packed = mixed_batch(joint=True, longest=70)
    with pytest.raises(InputError, match="exceeds the encoder's 64 positions"):
        Encoder(small_config(), dropout=0.0)(packed)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("joint", [False, True], ids=["separate", "joint"])
def test_cuda_agrees_with_cpu(joint: bool) -> None:
    encoder = perturbed(Encoder(small_config(), dropout=0.0))
    packed = mixed_batch(joint)
    wanted = encoder(packed)
    encoder.cuda()
    assert difference(encoder(packed.to("cuda")).cpu(), wanted) <= 1e-3  # TF32 is allowed
    with torch.autocast("cuda", dtype=torch.bfloat16):
        rough = encoder(packed.to("cuda"))
    assert difference(rough.float().cpu(), wanted) <= 0.05
