"""Space files that tests write, and searches over them without Ray."""

from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage

from search.driver import Driver
from search.storage.optuna_storage import open_storage
from tests.search.simulated import finish, open_driver

# On the first lines of every file, so that errors are told of lines from 8.
HEAD = '''"""A space of the test."""
import enum

import numpy as np
import optuna


'''


def space_file(folder: Path, body: str) -> str:
    """Write a space whose function has a body; its first line is line 9."""
    lines = "".join(f"    {line}\n" for line in body.strip().splitlines())
    path = folder / "mine.py"
    path.write_text(f"{HEAD}def space(trial):\n{lines}")
    return str(path)


def storage_in(folder: Path) -> BaseStorage:
    return open_storage(f"sqlite:///{folder / 'study.db'}")


def searched(space: str, storage: BaseStorage, **settings: Any) -> Driver:
    """A search over a space, to its end."""
    driver = open_driver(
        storage, space=space, epochs=1, scheduler="none", pruner="none", **settings
    )
    finish(driver)
    return driver
