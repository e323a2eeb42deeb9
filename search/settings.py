"""StudySettings: what is searched, for how long, and on what hardware."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Protocol, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from minbert.config import TaskWeights
from minbert.errors import InputError
from minbert.settings import Explained, OneOf, PathText, Placeholder, Settings
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
    "--front": "--pareto-models",
    "--keep": "--keep-models",
}

# The groups of the help: the fields of these settings and of ``InputSettings``.
HELP_GROUPS = {
    "Start here": (
        *("space", "data", "encoder", "recipe", "objective"),
        *("trials", "epochs", "time_budget", "name", "resume"),
    ),
    "Data and encoder": ("layers", "tasks", "max_length", "train_limit", "dev_limit", "strict"),
    "Trials and budget": (
        *("reports_per_epoch", "patience", "target"),
        *("cpus_per_trial", "gpus_per_trial", "seed"),
    ),
    "Proposals": ("sampler", "try_", "start_from"),
    "Early stopping": ("scheduler", "grace_period", "reduction_factor", "pruner"),
    "Confirmation": ("confirm", "finalists", "confirm_seeds", "judge"),
    "Faults": ("retries", "state_every", "report_timeout", "storage_patience"),
    "Storage": ("out", "storage", "keep_models", "pareto_models"),
    "Cluster": ("address", "dashboard"),
    "Output": ("tensorboard", "quiet"),
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


_Duration = Annotated[float, BeforeValidator(parse_duration), Placeholder("TIME")]


class StudySettings(Settings):
    """The search."""

    space: PathText = "weights"
    """what to vary: a name (see --list-spaces) or a Python file of your own"""
    recipe: PathText | None = None
    """configuration to start from: strong, paper, paper-weighted, a JSON file of your own, or the
    folder of an earlier run, for its winner, or of a saved model (default: strong)"""
    objective: TaskWeights = EQUAL_WEIGHTS
    """weights of the sst, para and sts scores in the one score that compares trials"""
    trials: Annotated[int, Field(ge=1)] | None = None
    """configurations to try, including the recipe (default: 10; all of a fixed list)"""
    epochs: Annotated[int, Field(ge=1, le=1000)] | None = None
    """epochs per trial (default: the recipe's)"""
    time_budget: Annotated[_Duration, Field(gt=0)] | None = None
    """stop the search after this time, such as 10m or 1h30m (default: no limit)"""
    name: Annotated[str, AfterValidator(_folder_name), Placeholder("NAME")] | None = None
    """name of the run's folder (default: space, date and time)"""
    resume: bool = False
    """continue the run --name; options that are not given are those of its study, and --trials
    may be larger. Without --name: continue the newest run that the given options fit"""

    reports_per_epoch: Annotated[int, Field(ge=1, le=100)] | None = None
    """dev evaluations per epoch; a trial may be stopped after each (default: 2; 1 for a list)"""
    patience: Annotated[int, Field(ge=1)] | None = None
    """end the search after N finished trials in a row without a higher score"""
    target: float | None = None
    """end the search when a trial reaches this score"""
    cpus_per_trial: Annotated[int, Field(ge=1)] = 1
    """CPU cores for each trial"""
    gpus_per_trial: Annotated[float, Field(ge=0)] | None = None
    """GPUs for each trial; below 1, trials share a GPU (default: 0.25 if there are GPUs)"""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """seed of the search, and of the training of every trial"""

    sampler: Annotated[str, OneOf(_sampler_help())] = "recipe"
    """how to propose configurations"""
    try_: tuple[str, ...] = ()
    """configuration to try first, such as lr=2e-5 or loss_weights=.2/.3/.5; repeat for more"""
    start_from: Annotated[PathText, Placeholder("RUN")] | None = None
    """folder of an earlier run; the sampler learns from its trials"""

    scheduler: Annotated[str, OneOf(_help_of(SCHEDULERS))] = "asha"
    """which trials to train further"""
    grace_period: Annotated[int, Field(ge=1)] = 1
    """report number of the first rung; each next rung is --reduction-factor times as far"""
    reduction_factor: Annotated[int, Field(ge=2, le=100)] = 3
    """keep the top 1/N of each rung"""
    pruner: Annotated[str, AfterValidator(_known_pruner), Explained(_help_of(PRUNERS))] = (
        DEFAULT_PRUNER
    )
    """Optuna pruner to use beside the scheduler, with options as in
    percentile:percentile=50,n_min_trials=8"""

    confirm: bool = False
    """confirm the winner after the search: train it and the recipe again with new seeds, and judge
    them on examples that did not choose it"""
    finalists: Annotated[int, Field(ge=1, le=20)] = 1
    """how many of the best trials may be confirmed; more than one race with the recipe first, and
    the best of them goes on"""
    confirm_seeds: Annotated[int, Field(ge=3, le=50)] = 7
    """pairs of trainings, of the trial and of the recipe, that are judged; each with a new seed"""
    judge: Literal["folds", "test"] = "folds"
    """what judges: a fifth of the training examples, which a pair leaves out; or test examples with
    labels, in files of the data folder such as quora-test.csv"""

    retries: Annotated[int, Field(ge=0)] = 2
    """times to retry a crashed trial, from its last saved state"""
    state_every: Annotated[_Duration, Field(gt=0)] = 60.0
    """save the state of a trial at this interval; a crash loses at most this much training"""
    report_timeout: Annotated[_Duration, Field(gt=0)] | None = None
    """end and retry a trial without a report for this long (default: wait without limit)"""
    storage_patience: Annotated[_Duration, Field(ge=0)] = 300.0
    """end the search if storage is full or unreachable for this long; --resume continues it"""

    out: PathText = "runs"
    """folder for the run's folder, or s3://BUCKET/PATH"""
    storage: Annotated[str, AfterValidator(expand_storage), Placeholder("URL")] | None = None
    """database URL or Optuna journal file of the study (default: study.db in the run's folder).
    Passwords in it show in the process list and on the Ray dashboard; see docs/search.md"""
    keep_models: Annotated[int, Field(ge=1)] = 1
    """number of models to keep, of the trials with the highest scores"""
    pareto_models: Annotated[int, Field(ge=1)] = 16
    """most models to keep on the Pareto front, for other weights of the tasks"""

    address: Annotated[str | None, AfterValidator(_no_ray_client)] = None
    """Ray cluster to join, auto or HOST:PORT (default: start Ray on this machine)"""
    dashboard: bool = True
    """start the Ray dashboard"""

    tensorboard: bool = False
    """run TensorBoard during the search, on this machine's loopback address"""
    quiet: bool = False
    """print only the results"""

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
