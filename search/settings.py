"""StudySettings: what is searched, for how long, and on what hardware."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Protocol, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from minbert.config import TaskWeights
from minbert.errors import InputError
from minbert.settings import Explained, OneOf, PathText, Settings
from minbert.weights import EQUAL_WEIGHTS
from search.propose.samplers import SAMPLERS
from search.schedule.pruners import PRUNERS, make_pruner
from search.schedule.table import SCHEDULERS
from search.storage.addresses import expand_storage, is_server
from search.storage.directory import is_object_store

# So many trials of the default space on the default data fit into six minutes on two cores.
DEFAULT_TRIALS = 10
# Without a report within an epoch, the scheduler could not stop a short trial early.
DEFAULT_REPORTS_PER_EPOCH = 2

DEFAULT_PRUNER = "median"

# Old options and values of the command line, and what is to be given now.
RENAMED = {
    "--halving promote": "--scheduler asha",
    "--halving stop": "--scheduler asha-stop",
    "--halving": "--scheduler",
    "--eta": "--reduction-factor",
    "--first-rung": "--grace-period",
}

_UNITS = {"h": 3600, "m": 60, "s": 1}
_DURATION = re.compile(r"(?:([\d.]+)h)?(?:([\d.]+)m)?(?:([\d.]+)s?)?")


def parse_duration(value: Any) -> Any:
    """Seconds of ``90``, ``90s``, ``10m`` or ``1h30m``; any other value as it is."""
    if not isinstance(value, str):
        return value
    match = _DURATION.fullmatch(value.strip())
    if not match or not any(match.groups()):
        raise ValueError("give a time such as 90s, 10m or 1h30m")
    parts = zip(match.groups(), _UNITS.values(), strict=True)
    try:
        return sum(float(part) * seconds for part, seconds in parts if part)
    except ValueError:
        raise ValueError("give a time such as 90s, 10m or 1h30m") from None


def _no_ray_client(address: str | None) -> str | None:
    # Under Ray's client protocol the search would run on the cluster, and its files lie there.
    if address is not None and address.startswith("ray://"):
        raise ValueError(
            "ray:// is not supported; run the search on the cluster with "
            "`ray job submit -- python -m search.run --address auto ...`"
        )
    return address


def _known_pruner(pruner: str) -> str:
    try:
        make_pruner(pruner)
    except InputError as error:
        raise ValueError(str(error)) from None
    return pruner


def _folder_name(name: str) -> str:
    if not name or name[0].isspace() or "/" in name:
        raise ValueError("a name holds no / and does not begin with a blank; --out is the folder")
    return name


class _Row(Protocol):
    """A row of a table of choices."""

    @property
    def help(self) -> str: ...


def _help_of(table: Mapping[str, _Row]) -> dict[str, str]:
    return {name: row.help for name, row in table.items()}


def _sampler_help() -> dict[str, str]:
    """What each sampler does, and what it needs."""
    texts = _help_of(SAMPLERS)
    for name, row in SAMPLERS.items():
        if row.needs_full_trials:
            texts[name] += ", with --scheduler none only"
        if row.needs_finite_space:
            texts[name] += ", for spaces without ranges"
    return texts


class StudySettings(Settings):
    """The search."""

    space: PathText = "weights"
    """what to vary: a name (see --list-spaces) or a Python file of your own"""
    recipe: str | None = None
    """what the space does not vary: strong, paper or paper-weighted (default: strong)"""
    objective: TaskWeights = EQUAL_WEIGHTS
    """score weights of sst, para and sts: the one score that compares trials; not loss weights"""
    trials: Annotated[int, Field(ge=1)] | None = None
    """configurations to try, the recipe itself included (default: 10; all of a fixed list)"""
    epochs: Annotated[int, Field(ge=1, le=1000)] | None = None
    """epochs a trial (default: the recipe's)"""
    reports_per_epoch: Annotated[int, Field(ge=1, le=100)] | None = None
    """dev evaluations an epoch, after which a trial may be stopped (default: 2; 1 for a list)"""
    time_budget: Annotated[float, BeforeValidator(parse_duration), Field(gt=0)] | None = None
    """stop after this long, such as 10m or 1h30m (default: when all trials are done)"""
    cpus_per_trial: Annotated[int, Field(ge=1)] = 1
    """CPU cores for each trial"""
    gpus_per_trial: Annotated[float, Field(ge=0)] | None = None
    """GPUs for each trial; trials share one below 1 (default: 0.25 where there are GPUs)"""
    scheduler: Annotated[str, OneOf(_help_of(SCHEDULERS))] = "asha"
    """which trials are trained on"""
    grace_period: Annotated[int, Field(ge=1)] = 1
    """report number of the first rung; each next one is --reduction-factor times as far"""
    reduction_factor: Annotated[int, Field(ge=2, le=100)] = 3
    """keep the top 1/N of each rung"""
    sampler: Annotated[str, OneOf(_sampler_help())] = "tpe"
    """what proposes configurations"""
    pruner: Annotated[str, AfterValidator(_known_pruner), Explained(_help_of(PRUNERS))] = (
        DEFAULT_PRUNER
    )
    """Optuna pruner beside the scheduler; options as in
    percentile:percentile=50,n_min_trials=8"""
    try_: tuple[str, ...] = ()
    """configuration to try first, such as lr=2e-5 or loss_weights=.2/.3/.5; may be given again"""
    start_from: PathText | None = None
    """folder of an earlier run whose trials the sampler learns from"""
    patience: Annotated[int, Field(ge=1)] | None = None
    """end when so many finished trials in a row did not score higher"""
    target: float | None = None
    """end when a trial scores this much"""
    keep: Annotated[int, Field(ge=1)] = 1
    """models to keep of the trials that scored highest"""
    front: Annotated[int, Field(ge=1)] = 16
    """models to keep for other weightings of the tasks, at most"""
    retries: Annotated[int, Field(ge=0)] = 2
    """how often a crashed trial is tried again, from its last state"""
    state_every: Annotated[float, BeforeValidator(parse_duration), Field(gt=0)] = 60.0
    """save this often what a trial can go on from: at most so much training does a crash cost"""
    report_timeout: Annotated[float, BeforeValidator(parse_duration), Field(gt=0)] | None = None
    """end and retry a trial that gives no report for this long (default: wait for ever)"""
    resume: bool = False
    """go on with the run of --name, with the options that its study was made with where others are
    not given, or with the newest that these options fit; --trials may be more"""
    storage: Annotated[str, AfterValidator(expand_storage)] | None = None
    """database URL or Optuna journal file for the study (default: study.db in the run's folder);
    a password in it shows in the list of processes and on the Ray dashboard: see docs/search.md"""
    storage_patience: Annotated[float, BeforeValidator(parse_duration), Field(ge=0)] = 300.0
    """wait this long for storage that is full or unreachable, then end; --resume goes on"""
    address: Annotated[str | None, AfterValidator(_no_ray_client)] = None
    """Ray cluster to join, auto or HOST:PORT (default: this machine alone)"""
    dashboard: bool = True
    """start the Ray dashboard"""
    tensorboard: bool = False
    """start TensorBoard beside the search, on this machine's loopback address"""
    quiet: bool = False
    """print what came of the search, and nothing while it runs"""
    name: Annotated[str, AfterValidator(_folder_name)] | None = None
    """name of the run's folder (default: space, date and time)"""
    out: PathText = "runs"
    """folder that the run's folder is made in, or s3://BUCKET/PATH"""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """seed of the search, and of the training of every trial"""

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if is_object_store(self.out) and not is_server(self.storage or ""):
            raise ValueError(
                f"out: {self.out.partition('?')[0]} cannot hold the study, which is a file; give "
                "--storage postgresql://USER@HOST/DATABASE"
            )
        needs_full_trials = SAMPLERS[self.sampler].needs_full_trials
        if needs_full_trials and SCHEDULERS[self.scheduler].ends_trials:
            raise ValueError(
                f"sampler: {self.sampler} learns from finished trials alone; give --scheduler none"
            )
        return self
