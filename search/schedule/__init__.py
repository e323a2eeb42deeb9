"""Schedulers and pruners: which trials are trained on, and which end early."""
