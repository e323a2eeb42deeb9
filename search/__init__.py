"""The hyperparameter search.

``from search import Session`` runs one from Python.
"""

from typing import TYPE_CHECKING, Any

# First of all, because it prepares the environment that Ray reads when it is imported.
import cluster  # noqa: F401

if TYPE_CHECKING:
    from .session import Session as Session


def __getattr__(name: str) -> Any:
    # A worker imports modules of this package, and none that only the driver needs.
    if name == "Session":
        from .session import Session

        return Session
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
