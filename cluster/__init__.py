"""Ray clusters: the one that a search starts by itself, and those that it is given.

Ray reads its environment when it is imported, so this module comes before any import of Ray.
"""

import os
from pathlib import Path

# Checks of a node that have to fail before it is given up.
_FAILED_CHECKS = 4

LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")

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
    # What Ray says of nodes that die is twenty lines a node, in the middle of a live table. The
    # search says it in one; Ray's own words are in its logs.
    "RAY_DEDUP_LOGS_SKIP_REGEX": "(?s).*",
    # The search writes its own logs and tells its own errors.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
}
for _name, _value in _DEFAULTS.items():
    os.environ.setdefault(_name, _value)


def prepare_to_join(address: str) -> str:
    """Let Ray use the machine's own address where the cluster does; call before Ray is imported.

    Args:
        address: of the cluster, ``HOST:PORT`` or ``auto``.

    Returns:
        ``HOST:PORT`` also for ``auto``, where it can be found out: on a cluster of several nodes on
        one machine Ray's own ``auto`` connects, and then cancels every actor (seen with 2.60).
    """
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or _started_last() or address
    if address.rpartition(":")[0] not in LOOPBACK:
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "1"
    elif token_file().is_file():
        # Ray does so for an address that it finds itself. Elsewhere the token is not to go unasked.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    return address


def token_file() -> Path:
    """Where Ray keeps the token of a cluster, unless RAY_AUTH_TOKEN holds it."""
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()


def detect_dead_nodes_within(seconds: float) -> None:
    """Let a head that is started in this environment give up a node that died so long ago.

    One that does not refuse connections, but is silent, takes up to twice as long. Ray's own
    settings take 15 s to a minute. Shorter than 5 s, a busy node passes for dead.
    """
    period = seconds / (_FAILED_CHECKS + 1)
    for name, value in (
        ("failure_threshold", _FAILED_CHECKS),
        ("period_ms", int(1000 * period)),
        ("timeout_ms", int(1000 * period)),
    ):
        os.environ[f"RAY_health_check_{name}"] = str(value)


def _started_last() -> str:
    """Address of the cluster that was started last on this machine, as Ray notes it."""
    file = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray" / "ray_current_cluster"
    try:
        return file.read_text().strip()
    except OSError:
        return ""
