"""What tests and measurements share: searches without training, a headless browser, waiting."""

# First of all, because it prepares the environment that Ray reads when it is imported.
import cluster  # noqa: F401
