"""The running attempts, and how many can run at once on a cluster whose machines come and go."""

import time
from typing import Any

import ray

from cluster.local import Cluster
from search.driver import Driver, Job
from search.storage.provenance import hardware_of

_SECONDS_BETWEEN_LOOKS = 1.0
# More than any cluster starts at a time; a study may have thousands of trials left.
_MOST_TO_ASK_FOR = 256


class Running:
    """An attempt that was handed to Ray.

    Attributes:
        hung: it made no report in time, so its worker was killed.
        last_sign: time of its last sign of life; None until it has started.
        ray_trial: the Ray Tune trial that runs it.
    """

    def __init__(self, job: Job):
        self.job = job
        self.hung = False
        self.last_sign: float | None = None
        self.ray_trial: Any = None


class Slots:
    """The running attempts, and how many the cluster has room for.

    On a cluster that was joined, the machines are counted regularly, and one attempt is handed to
    Ray even if there is no room for it: it starts when a machine joins. Waiting Ray tasks tell an
    autoscaler that there is more to run. The driver owns them, so they disappear if it dies.

    Attributes:
        running: the running attempts by trial number.
    """

    def __init__(
        self, driver: Driver, machines: Cluster, cpus_per_trial: int, gpus_per_trial: float
    ):
        self._driver, self._machines = driver, machines
        self._cpus, self._gpus = cpus_per_trial, gpus_per_trial
        self.running: dict[int, Running] = {}
        self._asked_for: list[Any] = []
        self._last_look = time.monotonic()
        self._head_answers = True
        driver.record.slots = machines.slots(cpus_per_trial, gpus_per_trial)

    @property
    def is_full(self) -> bool:
        """No further attempt can run; Ray asks for trials in advance, so it does not know this."""
        return len(self.running) >= max(1, self._driver.record.slots)

    def refresh(self) -> None:
        """Count the machines and ask for more, unless that was done a moment ago."""
        now = time.monotonic()
        if self._machines.joined is None or now - self._last_look < _SECONDS_BETWEEN_LOOKS:
            return
        self._last_look = now
        if not self._machines.answers():
            if self._head_answers:
                # Calls to Ray block now, and after a minute Ray ends the process.
                self._driver.tell(
                    "the cluster's head does not answer; if it does not come back within a minute "
                    "the search ends, and --resume continues it on another cluster"
                )
            self._head_answers = False
            return
        self._head_answers = True
        slots = self._machines.slots(self._cpus, self._gpus)
        if slots != self._driver.record.slots:
            self._driver.slots_changed(slots, hardware_of(self._machines))
        self._ask_for(self._driver.backlog - max(0, max(1, slots) - len(self.running)))

    def _ask_for(self, slots: int) -> None:
        """Keep this many tasks waiting that need as much as an attempt; each ends as it starts."""
        begun = all(running.last_sign is not None for running in self.running.values())
        if self._driver.record.slots and not begun:
            # The tasks would take the room of an attempt that is about to start.
            return
        if self._asked_for:
            _, self._asked_for = ray.wait(
                self._asked_for, num_returns=len(self._asked_for), timeout=0
            )
        wanted = max(0, min(slots, _MOST_TO_ASK_FOR))
        for task in self._asked_for[wanted:]:
            ray.cancel(task)
        del self._asked_for[wanted:]
        # A lambda is pickled by value, so workers need not import this module.
        room = ray.remote(num_cpus=self._cpus, num_gpus=self._gpus, max_retries=0)(lambda: None)
        self._asked_for += [room.remote() for _ in range(wanted - len(self._asked_for))]
