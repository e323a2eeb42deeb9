"""StudySettings: what is searched, for how long, and on what hardware."""

import re
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from minbert.config import TaskWeights
from minbert.errors import InputError
from minbert.settings import PathText, Settings
from minbert.weights import EQUAL_WEIGHTS

from .addresses import expand_storage, is_server
from .directory import is_object_store
from .halving import HalvingMode
from .proposals import NEED_FULL_TRIALS, SamplerName
from .pruning import make_pruner

# So many trials of the default space on the default data fit into six minutes on two cores.
DEFAULT_TRIALS = 10
# Without a report within an epoch, halving could not stop a short trial early.
DEFAULT_REPORTS_PER_EPOCH = 2

DEFAULT_PRUNER = "median"

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
    halving: HalvingMode = "promote"
    """pause trials at rungs and promote the best; or stop the low at once; or train all"""
    eta: Annotated[int, Field(ge=2, le=100)] = 3
    """of the trials at a rung one in this many goes on"""
    first_rung: Annotated[int, Field(ge=1)] = 1
    """report of the first rung; each next one is --eta times as far"""
    sampler: SamplerName = "tpe"
    """what proposes: gp and cmaes with --halving none only, grid for spaces without ranges"""
    pruner: Annotated[str, AfterValidator(_known_pruner)] = DEFAULT_PRUNER
    """Optuna pruner beside halving: median, percentile, patient, threshold, or none; options as
    in percentile:percentile=50,n_min_trials=8"""
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
        if self.sampler in NEED_FULL_TRIALS and self.halving != "none":
            raise ValueError(
                f"sampler: {self.sampler} learns from finished trials alone; give --halving none"
            )
        return self
