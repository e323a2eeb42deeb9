"""Search spaces, one a file.

A space is a function ``space(trial: optuna.Trial) -> dict[str, Any]`` that returns fields of
``minbert.config.TrainConfig``; what it leaves out comes from the recipe. Its module docstring is
its description. A module with ``EXPERIMENTS`` in place of the function is a fixed list.
"""
