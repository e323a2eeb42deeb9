"""The cache of tokenised files."""

import concurrent.futures
import pickle
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from tokenizers import Tokenizer, normalizers

from minbert import data
from minbert.config import InputSettings
from minbert.data import load_dataset
from minbert.errors import InputError
from minbert.examples import Dataset

from .data_files import PARA, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pairs = "".join(f"{i}\tp{i}\ta dog {i}\tthe cat\t{i % 2}.0\n" for i in range(200))
    return write(
        tmp_path / "data",
        para_train=PARA + pairs + "9\tbroken\ta\t\t\n",
        para_dev=PARA + "0\td\twho\tsees\t1.0\n",
        para_test="\tid\tsentence1\tsentence2\n0\tt\twho\tit\n",
    )


def read_para(folder: Path, tokenizer: Tokenizer, cache: Path, **options: object) -> Dataset:
    inputs = InputSettings.check({"data": str(folder), "tasks": "para", **options})
    return load_dataset(inputs, tokenizer, cache=cache)


def assert_same(one: Dataset, other: Dataset) -> None:
    assert (one.notes, one.files, one.classes) == (other.notes, other.files, other.classes)
    for name, split in one.splits["para"].items():
        for field, value in vars(split).items():
            found = getattr(other.splits["para"][name], field)
            if isinstance(value, np.ndarray):
                assert value.dtype == found.dtype
                assert np.array_equal(value, found)
            else:
                assert value == found


def test_a_second_start_reads_the_cache(
    folder: Path, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = read_para(folder, tokenizer, tmp_path / "cache")
    assert "line 202: no sentence2, no is_duplicate" in first.notes[0]

    def refuse(*_: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(data, "read_table", refuse)
    second = read_para(folder, tokenizer, tmp_path / "cache")
    assert_same(first, second)
    tokens = second.splits["para"]["train"].tokens
    assert isinstance(tokens.base, np.memmap)
    assert not tokens.flags.writeable
    with pytest.raises(InputError, match="line 202"):
        read_para(folder, tokenizer, tmp_path / "cache", strict=True)
    # Another file, length or tokenizer is another entry.
    with pytest.raises(AssertionError, match="read again"):
        read_para(folder, tokenizer, tmp_path / "cache", max_length=5)
    other = Tokenizer.from_str(tokenizer.to_str())
    other.normalizer = normalizers.Strip()
    with pytest.raises(AssertionError, match="read again"):
        read_para(folder, other, tmp_path / "cache")
    path = folder / "quora-dev.csv"
    path.write_text(path.read_text().replace("who", "cat"))
    with pytest.raises(AssertionError, match="read again"):
        read_para(folder, tokenizer, tmp_path / "cache")


@pytest.mark.parametrize("harm", ["cut", "flip", "remove", "no list", "torn list", "wrong list"])
def test_a_torn_cache_is_rebuilt(
    harm: str, folder: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    whole = read_para(folder, tokenizer, cache)
    kept = pickle.loads(pickle.dumps(whole))
    harmed = 0
    for entry in (cache / "splits").iterdir():
        tokens, listing = entry / "tokens.npy", entry / "meta.json"
        content = bytearray(tokens.read_bytes())
        # Into new files, since the dataset above still maps the old ones.
        if harm == "cut":
            tokens.unlink()
            tokens.write_bytes(content[:-3])
        elif harm == "flip":
            content[-2] ^= 1
            tokens.unlink()
            tokens.write_bytes(content)
        elif harm == "remove":
            tokens.unlink()
        elif harm == "no list":
            listing.unlink()
        elif harm == "torn list":
            listing.write_text(listing.read_text()[:40])
        else:
            listing.write_text("[]")
        harmed += 1
    assert harmed == 3
    assert_same(kept, read_para(folder, tokenizer, cache))
    assert_same(kept, read_para(folder, tokenizer, cache))
    assert not list(cache.rglob("*.part"))


def test_a_writer_that_dies_half_way_leaves_nothing_that_is_trusted(
    folder: Path, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    save, saved = np.save, []

    def die_at_the_third(file: BinaryIO, array: np.ndarray, allow_pickle: bool) -> None:
        saved.append(1)
        if len(saved) == 3:
            raise KeyboardInterrupt
        save(file, array, allow_pickle=allow_pickle)

    monkeypatch.setattr(np, "save", die_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        read_para(folder, tokenizer, cache)
    monkeypatch.setattr(np, "save", save)
    assert_same(read_para(folder, tokenizer, cache), read_para(folder, tokenizer, cache))


def test_a_cache_that_cannot_be_written_is_only_noted(
    folder: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    loaded = read_para(folder, tokenizer, in_the_way / "cache")
    assert len(loaded.splits["para"]["train"]) == 200
    assert [note for note in loaded.notes if "cannot be written" in note] == [
        f"the cache {in_the_way / 'cache'} cannot be written (Not a directory); "
        "continuing without it"
    ]


def test_writers_at_the_same_time_do_not_hurt_each_other(
    folder: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        loaded = list(pool.map(lambda _: read_para(folder, tokenizer, cache), range(12)))
    for one in loaded:
        assert_same(loaded[0], one)
    assert_same(loaded[0], read_para(folder, tokenizer, cache))


def test_arrays_leave_a_pickle_without_a_copy(
    folder: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    read_para(folder, tokenizer, tmp_path / "cache")
    cached = read_para(folder, tokenizer, tmp_path / "cache")
    buffers: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(cached, protocol=5, buffer_callback=buffers.append)
    sizes = {len(buffer.raw()) for buffer in buffers}
    assert cached.splits["para"]["train"].tokens.nbytes in sizes
    assert_same(cached, pickle.loads(pickled, buffers=buffers))


def test_the_environment_names_the_default_cache(
    folder: Path, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINBERT_CACHE", str(tmp_path / "elsewhere"))
    load_dataset(InputSettings(data=str(folder), tasks=("para",)), tokenizer)
    assert len(list((tmp_path / "elsewhere" / "splits").iterdir())) == 3
