"""The hyperparameter search."""

# First of all, because it prepares the environment that Ray reads when it is imported.
import cluster  # noqa: F401
