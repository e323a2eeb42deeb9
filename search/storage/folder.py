"""The folder of a run: what it contains, and who may write to it.

study.db          the study, unless --storage names another place
run.json          where the study is
lock              held by the driver
checkpoints/      see checkpoints.py
predictions/          see predictions.py
tensorboard/      curves
best/             the winner's model, with predictions
report.html       the results, for people
trials.csv, summary.json
confirmation/     checkpoints/ and predictions/ of a confirmation
"""

import contextlib
import fcntl
import json
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minbert.errors import InputError, reason_of

from .addresses import is_url, lasting, sqlite_url, without_password
from .checkpoints import CheckpointStore
from .directory import LocalDirectory, join, open_directory
from .lease import is_leased
from .optuna_storage import open_storage
from .predictions import DevPredictions
from .study import NoStudyError, Study
from .study_file import StudyCopies, StudyFile, study_file

_ABOUT = "run.json"
# Added to the name of a study, it names that of its confirmation, in the same storage.
_CONFIRMATION = ".confirmation"


class RunFolder:
    """A run's folder, on a disk or in an object store.

    Args:
        where: path, or ``s3://BUCKET/PATH``; its last part is the study's name.
        storage: database URL or journal file of the study. By default the folder names it; a
            database must be given here, because a folder from someone else could name any server.

    Attributes:
        problem: a line on what was wrong with the study that was loaded last; None if nothing was.
        path: where the files for people are written: the folder itself, or for an object store a
            temporary folder on this machine, which ``publish`` copies.
    """

    def __init__(self, where: str | Path, storage: str | None = None):
        self.directory = open_directory(where)
        self._storage = storage
        self.problem: str | None = None
        self._published: dict[str, tuple[int, int]] = {}
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        if isinstance(self.directory, LocalDirectory):
            self.path = self.directory.path
        else:
            self._temporary = tempfile.TemporaryDirectory(prefix="minbert-run-")
            self.path = Path(self._temporary.name)
        self.name = self.directory.where.rpartition("/")[2]
        self.checkpoints = self.directory / "checkpoints"
        self.predictions = DevPredictions(self.directory / "predictions")
        self.tensorboard = self.path / "tensorboard"
        self.best = self.path / "best"
        self.page = self.path / "report.html"
        confirmation = self.directory / "confirmation"
        self.confirmation_checkpoints = confirmation / "checkpoints"
        self.confirmation_predictions = DevPredictions(confirmation / "predictions")

    def __str__(self) -> str:
        return self.directory.where

    @property
    def is_remote(self) -> bool:
        """Whether the folder is in an object store."""
        return self._temporary is not None

    @property
    def page_address(self) -> str:
        """Where report.html is, or will be after ``publish``."""
        return self.address_of(self.page)

    def address_of(self, file: Path) -> str:
        """Where a file of the folder is, or will be after ``publish``."""
        return join(str(self), file.name)

    @property
    def arguments(self) -> str:
        """The arguments that name this run to a command, quoted for a shell."""
        words = [self.directory.address if self.is_remote else str(self.path)]
        if self._storage is not None and is_url(self._storage):
            words += ["--storage", without_password(self._storage)]
        return shlex.join(words)

    @property
    def exists(self) -> bool:
        return self.directory.modified(_ABOUT) is not None

    def create(self) -> None:
        """Create the folder; InputError if it exists or cannot be created."""
        there = InputError(f"{self} is there already; give another --name, or --resume")
        about = {"storage": None if self._storage is None else lasting(self._storage)}
        try:
            if isinstance(self.directory, LocalDirectory):
                self.path.mkdir(parents=True)
            elif self.exists:
                raise there
            self.directory.write(_ABOUT, (json.dumps(about, indent=2) + "\n").encode())
        except FileExistsError:
            raise there from None
        except OSError as error:
            raise InputError(f"cannot make the folder {self}: {reason_of(error)}") from None

    def publish(self) -> None:
        """Copy the files for people into the object store, if the folder is in one.

        Raises:
            OSError: the object store cannot be reached.
        """
        if not self.is_remote:
            return
        files = [path for path in self.path.rglob("*") if path.is_file()]
        for path in files:
            name = path.relative_to(self.path).as_posix()
            about = path.stat()
            version = about.st_mtime_ns, about.st_size
            if self._published.get(name) != version:
                self.directory.write(name, path.read_bytes())
                self._published[name] = version
        # Remove files of an earlier driver, whose logs this one has rewritten.
        for folder in (self.best, self.tensorboard):
            if folder.is_dir():
                for name in (self.directory / folder.name).files():
                    if not (folder / name).is_file():
                        self.directory.remove(f"{folder.name}/{name}")

    def delete(self) -> None:
        """Remove the folder and its contents."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self.is_remote:
            self.directory.remove()

    def storage_address(self) -> str:
        """Database URL or journal file of the study.

        Raises:
            InputError: there is no run, or its study is in a database, which must be named.
        """
        if self._storage is not None:
            return self._storage
        name = f"{self}/{_ABOUT}"
        try:
            where = json.loads(self.directory.read(_ABOUT))["storage"]
        except FileNotFoundError:
            raise InputError(f"{self} holds no run (there is no {_ABOUT} in it)") from None
        except (ValueError, KeyError, TypeError, RecursionError):
            raise _damaged(name) from None
        except OSError as error:
            raise InputError(f"{name} cannot be read: {reason_of(error)}") from None
        if where is None:
            return sqlite_url(self.path.resolve() / "study.db")
        if not isinstance(where, str) or "\0" in where:
            raise _damaged(name)
        if is_url(where):
            shown = without_password(where)
            secret = ", and its password in place of ***" if "***" in shown else ""
            raise InputError(
                f"the study is at {shown}; give it with --storage {shlex.quote(shown)}{secret}"
            )
        return where

    def create_study(self, setup: dict[str, object]) -> Study:
        return Study.create(open_storage(self.storage_address()), self.name, setup)

    def open_study(self, setup: dict[str, object], tell: Callable[[str], None]) -> Study:
        """The study of the run, for its driver; created if a kill came before it was.

        Args:
            setup: of this run.
            tell: is called with a line if the study's file was damaged and replaced by its copy.

        Raises:
            InputError: the study cannot be read, or it is missing although the run has predictions,
                which a new study would not know.
        """
        file = self._study_file()
        if file is not None and file.path.is_file():
            said = file.put_back()
            if said is not None:
                tell(f"{said}; the search repeats what was recorded after that")
        try:
            study = self.load_study()
        except NoStudyError:
            if self.predictions.any:
                raise
            return self.create_study(setup)
        study.complete(setup)
        return study

    def open_confirmation(self, setup: dict[str, object], **driver: Any) -> Study:
        """The study of the run's confirmation, for its driver; created if there is none.

        Args:
            setup: of the run's own study.
            driver: as for ``Study.load``.
        """
        try:
            return self.load_confirmation(**driver)
        except NoStudyError:
            name = self.name + _CONFIRMATION
            Study.create(open_storage(self.storage_address()), name, setup).close()
        return self.load_confirmation(**driver)

    def load_confirmation(self, **driver: Any) -> Study:
        """The study of the run's confirmation; NoStudyError if there is none."""
        return self._load(self.name + _CONFIRMATION, **driver)

    def load_study(self, **driver: Any) -> Study:
        """The study of the run; NoStudyError if there is none.

        Args:
            driver: as for ``Study.load``.
        """
        return self._load(self.name, **driver)

    def _load(self, name: str, **driver: Any) -> Study:
        where, file = self.storage_address(), self._study_file()
        if file is not None:
            if not file.path.is_file():
                raise NoStudyError(
                    f"{file.path} is missing, so there is nothing to resume or to show"
                )
            good, self.problem = file.last_good()
            if good is not file:
                where = good.storage
            good.check_kind()
        return Study.load(open_storage(where), name, **driver)

    def _study_file(self) -> StudyFile | None:
        """The study's file, checked; None for a database server.

        Raises:
            InputError: reading it or its copy could change other files.
        """
        file = study_file(self.storage_address())
        if file is not None:
            file.check(may_be_link=self._storage is not None)
        return file

    def copies(self) -> list[StudyCopies]:
        """The watcher that copies the study's file; none for a database server."""
        file = study_file(self.storage_address())
        return [] if file is None else [StudyCopies(file)]

    def checkpoint_store(self) -> CheckpointStore:
        return CheckpointStore(self.checkpoints)

    def is_held(self, study: Study) -> bool:
        """Whether a driver works on the run: on this machine, or with a lease on its study."""
        # The noted lease may be malformed.
        with contextlib.suppress(KeyError, TypeError):
            if is_leased(study):
                return True
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
        """Be the only driver of the run on this machine, and on machines that share its disk.

        Raises:
            InputError: another driver works on the run.
        """
        try:
            # Not "w", which would truncate the target of a link.
            file = (self.path / "lock").open("a")
        except OSError as error:
            raise InputError(f"{self.path} cannot be written to: {error.strerror}") from None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(f"another search is at work on {self}; wait for it") from None
            yield


def _damaged(name: str) -> InputError:
    return InputError(f"{name} is damaged; name the study's place with --storage")
