"""Files in the course layout, written by tests."""

from pathlib import Path

WORDS = "[PAD] [UNK] [CLS] [SEP] a dog sees the cat it ' s . ? , who \"".split()  # noqa: SIM905
PARA = "\tid\tsentence1\tsentence2\tis_duplicate\n"


def write(folder: Path, **files: str) -> Path:
    """Files by the names of their splits: ``sst_train`` is ids-sst-train.csv."""
    prefixes = {"sst": "ids-sst", "para": "quora", "sts": "sts"}
    for name, content in files.items():
        task, split = name.split("_")
        folder.mkdir(exist_ok=True)
        path = folder / f"{prefixes[task]}-{'test-student' if split == 'test' else split}.csv"
        path.write_text(content, encoding="utf-8", newline="")
    return folder
