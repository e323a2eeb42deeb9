import pickle
from pathlib import Path

import pytest
import torch
import transformers

from minbert.batching import pack
from minbert.card import ModelInfo
from minbert.checkpoint import load_model, load_state, save_model, save_state
from minbert.config import InputSettings, TrainConfig
from minbert.errors import InputError
from minbert.evaluate import predict
from minbert.examples import Dataset
from minbert.hub import Pretrained
from minbert.train import Trainer


@pytest.fixture(scope="module")
def trainer(tiny: Pretrained, dataset: Dataset) -> Trainer:
    trainer = Trainer(TrainConfig(batch_size=8, epochs=1, lr=1e-3), dataset, tiny)
    trainer.next_report()
    return trainer


@pytest.fixture
def saved(trainer: Trainer, tiny: Pretrained, tmp_path: Path) -> Path:
    info = ModelInfo(
        inputs=InputSettings(data="some/where", encoder="minilm"),
        config=trainer.config,
        recipe="strong",
        tasks=trainer.dataset.tasks,
        classes=trainer.dataset.classes,
        files=trainer.dataset.files,
        report=trainer.reports[0],
    )
    save_model(tmp_path / "model", trainer.model, tiny.tokenizer(), info)
    return tmp_path / "model"


def test_loaded_model_predicts_the_same(saved: Path, trainer: Trainer, dataset: Dataset) -> None:
    before = predict(trainer.model, dataset, "test")
    after = predict(load_model(saved).model, dataset, "test")
    assert all((before[task] == after[task]).all() for task in before)
    assert load_model(saved).info.report == trainer.reports[0]


def test_a_model_of_an_earlier_version_loads(saved: Path) -> None:
    path = saved / "minbert.json"
    renamed = {'"select"': '"keep"', '"selection_weights"': '"keep_weights"'}
    text = path.read_text("utf-8")
    info = load_model(saved).info
    for name, earlier in renamed.items():
        assert name in text
        text = text.replace(name, earlier)
    path.write_text(text)
    assert load_model(saved).info == info


def test_transformers_loads_the_encoder_with_the_same_numbers(
    saved: Path, trainer: Trainer, dataset: Dataset
) -> None:
    bert = transformers.AutoModel.from_pretrained(saved).eval()
    split = dataset.splits["sst"]["dev"]
    text = "The dog sees the sea ."
    tokens = transformers.AutoTokenizer.from_pretrained(saved)(text, return_tensors="pt")
    assert tokens.input_ids[0].tolist() == load_model(saved).tokenizer.encode(text).ids
    with torch.inference_mode():
        row = split.first[:1]
        packed = pack(split, row * 0, False, dataset.cls_id, dataset.sep_id)
        trainer.model.eval()
        ours = trainer.model.encoder(packed)
        theirs = bert(input_ids=packed.ids[None]).last_hidden_state[0]
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_card_says_what_a_reader_needs(saved: Path) -> None:
    card = (saved / "README.md").read_text()
    for needed in ("optimistic", "Quora", "word pieces", "strong", "where", "sha256"):
        assert needed in card
    assert "some/where" not in card  # a path of the machine it was made on


@pytest.mark.parametrize("name", ["model.safetensors", "heads.safetensors"])
def test_damaged_weights_are_named(saved: Path, name: str) -> None:
    content = (saved / name).read_bytes()
    (saved / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=f"{name} is damaged"):
        load_model(saved)
    (saved / name).unlink()
    with pytest.raises(InputError, match=f"{name} is missing"):
        load_model(saved)


def test_weights_of_another_saving_are_not_mixed(
    saved: Path, trainer: Trainer, tiny: Pretrained
) -> None:
    # A saving that was cut off after the first file.
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    other = trainer.model.encoder.layers[0].state_dict()
    next(iter(other.values())).add_(1.0)
    try:
        save_model(saved, trainer.model, tiny.tokenizer(), load_model(saved).info)
    finally:
        next(iter(other.values())).sub_(1.0)
    (saved / "minbert.json").write_bytes(before["minbert.json"])
    with pytest.raises(InputError, match=r"model\.safetensors is damaged or of another model"):
        load_model(saved)


def test_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no saved model"):
        load_model(tmp_path)
    (tmp_path / "minbert.json").write_text('{"recipe": 3')
    with pytest.raises(InputError, match=r"minbert\.json is damaged"):
        load_model(tmp_path)


def test_state_is_saved_whole_or_not_at_all(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.pt"
    save_state(path, trainer.state_dict())
    before = path.read_bytes()

    def torn(_state: object, file: object) -> None:
        file.write(b"half of it")  # type: ignore[attr-defined]
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", torn)
    with pytest.raises(OSError, match="No space"):
        save_state(path, trainer.state_dict())
    assert path.read_bytes() == before
    assert load_state(path)["step"] == trainer.step


def test_torn_state_is_named(trainer: Trainer, tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    save_state(path, trainer.state_dict())
    for part in (0, 10, path.stat().st_size // 2):
        path.write_bytes(path.read_bytes()[:part])
        with pytest.raises(InputError, match=r"state\.pt is damaged"):
            load_state(path)


class _Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('code was run')",))


def test_hostile_state_runs_no_code(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    torch.save({"step": _Hostile()}, path)
    with pytest.raises(InputError, match=r"state\.pt is damaged"):
        load_state(path)
    path.write_bytes(pickle.dumps(_Hostile()))
    with pytest.raises(InputError, match=r"state\.pt is damaged"):
        load_state(path)
