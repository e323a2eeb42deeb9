"""Signals that end a search cleanly."""

import signal


def heed_signals() -> None:
    """Make SIGINT and SIGTERM raise KeyboardInterrupt, so that a search saves its trials.

    Scripts start background processes with SIGINT ignored. SIGTERM, as ``timeout`` and ``kill``
    send it, acts as Ctrl-C. Ray Tune installs its own handler of SIGINT while trials run.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
