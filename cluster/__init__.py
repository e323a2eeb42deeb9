"""Ray clusters: the one that a search starts by itself, and those that it is given.

Ray reads its environment when it is imported, so this module comes before any import of Ray.
"""

import os

_DEFAULTS = {
    # Everything that Ray starts on this machine then listens on loopback alone.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray runs workers at niceness 15: beside any other program a trial would hardly get on.
    "RAY_worker_niceness": "0",
    # A trial without a GPU keeps seeing no GPU; Ray warns that this will be its default.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    # The search writes its own logs and tells its own errors.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
}
for _name, _value in _DEFAULTS.items():
    os.environ.setdefault(_name, _value)


def use_several_machines() -> None:
    """Let Ray use the machine's own address, to join a cluster; call before Ray is imported."""
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "1"
