"""Ray clusters: the one that a search starts by itself, or one that it joins.

Ray reads its environment when it is imported, so import this module before Ray.
"""

import os
from pathlib import Path

# Failed health checks after which Ray gives up a node.
_FAILED_CHECKS = 4

LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")

_DEFAULTS = {
    # Makes everything that Ray starts on this machine listen only on loopback.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray runs workers at niceness 15, so beside any other program a trial would hardly progress.
    "RAY_worker_niceness": "0",
    # Trials without a GPU see no GPU, as before; Ray warns that this will be its default.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    # Ray prints twenty lines for each node that dies, in the middle of a live table. The search
    # prints one; Ray's lines are in its logs.
    "RAY_DEDUP_LOGS_SKIP_REGEX": "(?s).*",
    # The search writes its own logs and reports errors itself.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
}
for _name, _value in _DEFAULTS.items():
    os.environ.setdefault(_name, _value)


def prepare_to_join(address: str) -> str:
    """Set up Ray's environment to join a cluster; call this before Ray is imported.

    If the cluster is not on loopback, Ray uses the machine's own address.

    Args:
        address: of the cluster, ``HOST:PORT`` or ``auto``.

    Returns:
        ``HOST:PORT``, also for ``auto`` if it can be found: with several nodes on one machine,
        Ray's own ``auto`` connects and then cancels every actor (seen with 2.60).
    """
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or _started_last() or address
    if address.rpartition(":")[0] not in LOOPBACK:
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "1"
    elif token_file().is_file():
        # As Ray does for an address that it finds itself. Do not send the token elsewhere unasked.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    return address


def token_file() -> Path:
    """The file in which Ray keeps the token of a cluster, unless RAY_AUTH_TOKEN holds it."""
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()


def detect_dead_nodes_within(seconds: float) -> None:
    """Make a head started in this environment give up a dead node after this many seconds.

    A node that is silent but does not refuse connections takes up to twice as long. Ray's own
    settings take 15 s to a minute. With less than 5 s, a busy node counts as dead.
    """
    period = seconds / (_FAILED_CHECKS + 1)
    for name, value in (
        ("failure_threshold", _FAILED_CHECKS),
        ("period_ms", int(1000 * period)),
        ("timeout_ms", int(1000 * period)),
    ):
        os.environ[f"RAY_health_check_{name}"] = str(value)


def _started_last() -> str:
    """Address of the cluster that was started last on this machine, from Ray's own note."""
    file = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray" / "ray_current_cluster"
    try:
        return file.read_text().strip()
    except OSError:
        return ""
