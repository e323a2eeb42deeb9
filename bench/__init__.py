"""Measurements; each prints what it compares."""

import cluster  # noqa: F401  # before anything here imports Ray, whose environment it prepares
