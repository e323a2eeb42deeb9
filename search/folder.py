"""The folder of a run: what lies in it, who may write to it, and which run a resume means.

study.db          the study, unless --storage names another place
run.json          where the study is
lock              held by the one driver
checkpoints/      see checkpoints.py
answers/          see answers.py
tensorboard/      curves
best/             the winner's model, with predictions
report.html       what was found, for people
trials.csv, summary.json
"""

import fcntl
import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from minbert.checkpoint import write_whole
from minbert.errors import InputError

from .answers import DevAnswers
from .checkpoints import CheckpointStore
from .study import Study, open_storage

_LEASE_SECONDS = 30.0
_LEASE = "lease"


class RunFolder:
    """A run's folder.

    Args:
        path: of the folder; its name is the study's name.
        storage: database URL or journal file of the study; by default what the folder says.
    """

    def __init__(self, path: Path, storage: str | None = None):
        self.path = path
        self._storage = storage
        self.checkpoints = path / "checkpoints"
        self.answers = DevAnswers(path / "answers")
        self.tensorboard = path / "tensorboard"
        self.best = path / "best"
        self.page = path / "report.html"

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def exists(self) -> bool:
        return (self.path / "run.json").is_file()

    def create(self) -> None:
        """Make the folder; InputError if it is there already or cannot be made."""
        try:
            self.path.mkdir(parents=True)
        except FileExistsError:
            raise InputError(
                f"{self.path} is there already; give another --name, or --resume"
            ) from None
        except OSError as error:
            raise InputError(f"cannot make the folder {self.path}: {error.strerror}") from None
        about = {"storage": None if self._storage is None else _lasting(self._storage)}
        write_whole(self.path / "run.json", (json.dumps(about, indent=2) + "\n").encode())

    def storage(self) -> str:
        """Database URL or journal file of the study.

        Raises:
            InputError: there is no run, or its study needs a password, which is not kept.
        """
        if self._storage is not None:
            return self._storage
        path = self.path / "run.json"
        try:
            where: str | None = json.loads(path.read_text())["storage"]
        except FileNotFoundError:
            raise InputError(f"{self.path} holds no run (there is no run.json in it)") from None
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{path} is damaged; name the study's place with --storage") from None
        if where is None:
            return f"sqlite:///{(self.path / 'study.db').resolve()}"
        if "***" in where:
            raise InputError(f"the study is at {where}; give --storage with the password")
        return where

    def create_study(self, setup: dict[str, object]) -> Study:
        return Study.create(open_storage(self.storage()), self.name, setup)

    def open_study(self, setup: dict[str, object]) -> Study:
        """The study of the run, made where a kill came before it was.

        Raises:
            InputError: it is gone though the run has answers, which a new study would not know.
        """
        try:
            study = self.load_study()
        except InputError:
            if self.answers.any:
                raise
            return self.create_study(setup)
        study.complete(setup)
        return study

    def load_study(self) -> Study:
        """The study of the run; InputError where there is none."""
        where = self.storage()
        path = Path(where.removeprefix("sqlite:///"))
        if ("://" not in where or where.startswith("sqlite:///")) and not path.is_file():
            raise InputError(f"{path} is missing, so there is nothing to go on with or to show")
        return Study.load(open_storage(where), self.name)

    def store(self) -> CheckpointStore:
        return CheckpointStore(self.checkpoints)

    def is_locked(self) -> bool:
        """A driver is at work on the run, on this machine."""
        try:
            with (self.path / "lock").open("r") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only driver of the run.

        Raises:
            InputError: another driver is at work on it.
        """
        with (self.path / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(f"another search is at work on {self.path}; wait for it") from None
            yield


class Lease:
    """Held by the one driver of a study.

    Attributes:
        on_lost: is called with the reason when the lease could not be renewed in time, or another
            driver took it; nothing more may be written then.
    """

    def __init__(self) -> None:
        self.on_lost: Callable[[str], None] = lambda reason: None  # noqa: ARG005


@contextmanager
def lease(study: Study, where: str) -> Iterator[Lease]:
    """Be the only driver of a study in a database that several machines reach.

    A lease of 30 s is written into the study and renewed every 10 s, so that the death of a
    driver lets go of it. For a file of this machine the lock of the folder is enough.

    Args:
        study: to hold.
        where: its storage.

    Raises:
        InputError: another driver holds the lease.
    """
    held = Lease()
    if "://" not in where or where.startswith("sqlite"):
        yield held
        return
    owner = uuid.uuid4().hex

    def held_by_another() -> bool:
        noted = study.noted(_LEASE)
        return noted is not None and noted["owner"] != owner and noted["until"] > time.time()

    def renew() -> None:
        study.note(_LEASE, {"owner": owner, "until": time.time() + _LEASE_SECONDS})

    refused = "another search is at work on this study; wait for it, or 30 s after its end"
    if held_by_another():
        raise InputError(refused)
    renew()
    # Of two that write at once the later wins, and the other sees it after this.
    time.sleep(0.5)
    if held_by_another():
        raise InputError(refused)
    over, lost = threading.Event(), threading.Event()

    def keep() -> None:
        renewed = time.time()
        while not over.wait(_LEASE_SECONDS / 3):
            try:
                if not held_by_another() and time.time() - renewed < _LEASE_SECONDS:
                    renew()
                    renewed = time.time()
                    continue
            # Each database has errors of its own; what counts is that it was not renewed.
            except Exception:
                if time.time() - renewed < _LEASE_SECONDS:
                    continue
            lost.set()
            held.on_lost("the lease on the study was lost, so another driver may be at work on it")
            return

    keeper = threading.Thread(target=keep, daemon=True)
    keeper.start()
    try:
        yield held
    finally:
        over.set()
        keeper.join()
        if not lost.is_set():
            study.note(_LEASE, None)


def _lasting(storage: str) -> str:
    """A storage as the folder can note it: a URL without its password, a file by its full path."""
    if "://" not in storage:
        return str(Path(storage).resolve())
    return without_password(storage)


def without_password(url: str) -> str:
    """A database URL that can be shown and stored; any other text as it is."""
    if "://" not in url:
        return url
    parts = urlsplit(url)
    query = re.sub(r"(?i)((?:^|&)[^=&]*pass[^=&]*=)[^&]*", r"\1***", parts.query)
    parts = parts._replace(query=query)
    if parts.password is not None:
        host = parts.netloc.rpartition("@")[2]
        parts = parts._replace(netloc=f"{parts.username}:***@{host}")
    return urlunsplit(parts)
