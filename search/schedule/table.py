"""The schedulers by name, without importing what they need.

A scheduler is one file with a class that implements ``base.Scheduler``, and one row here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from minbert.settings import Settings

if TYPE_CHECKING:
    from search.storage.study import Study

    from .base import Scheduler


@dataclass(frozen=True)
class SchedulerRow:
    """A scheduler to choose.

    Attributes:
        help: what it does, in a few words.
        load: imports and returns its class, which takes the study, the most reports of any
            configuration, the number of planned trials, and its options.
        options: names of the settings that it uses.
        ends_trials: it ends trials before they are fully trained.
    """

    help: str
    load: "Callable[[], Callable[..., Scheduler]]"
    options: tuple[str, ...] = ()
    ends_trials: bool = True

    def options_of(self, settings: Settings) -> dict[str, Any]:
        """The values of its options in the settings."""
        return {name: getattr(settings, name) for name in self.options}


def _asha() -> "Callable[..., Scheduler]":
    from .asha import Asha

    return Asha


def _asha_stop() -> "Callable[..., Scheduler]":
    from .asha import AshaStop

    return AshaStop


def _pasha() -> "Callable[..., Scheduler]":
    from .pasha import Pasha

    return Pasha


def _none() -> "Callable[..., Scheduler]":
    from .base import RunAll

    return RunAll


_RUNGS = ("grace_period", "reduction_factor")

SCHEDULERS: Mapping[str, SchedulerRow] = {
    "asha": SchedulerRow("pause trials at rungs and promote the best", _asha, _RUNGS),
    "asha-stop": SchedulerRow("stop the lowest at each rung, pause none", _asha_stop, _RUNGS),
    "pasha": SchedulerRow("like asha, but train longer only while ranks change", _pasha, _RUNGS),
    "none": SchedulerRow("train every trial to its end", _none, ends_trials=False),
}


def make_scheduler(
    settings: Settings, name: str, study: "Study", most_reports: int, planned: int
) -> "Scheduler":
    """Make the scheduler with a name.

    Args:
        settings: hold the values of its options.
        name: a key of ``SCHEDULERS``.
        study: the record; the scheduler follows its changes.
        most_reports: the most reports of any configuration.
        planned: number of planned trials.
    """
    row = SCHEDULERS[name]
    return row.load()(study, most_reports, planned, **row.options_of(settings))
