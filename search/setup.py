"""What a study was made with, and whether it may be gone on with."""

import hashlib
from dataclasses import replace
from typing import Any

from minbert.config import InputSettings
from minbert.data import Dataset
from minbert.errors import InputError
from minbert.hub import Pretrained

from .directory import join, open_directory
from .folder import RunFolder
from .plan import Plan
from .settings import StudySettings
from .study import Study


def make_setup(
    settings: StudySettings,
    inputs: InputSettings,
    plan: Plan,
    dataset: Dataset,
    pretrained: Pretrained,
) -> dict[str, Any]:
    """Everything that the numbers and decisions of a study depend on, by name.

    What may change from one run of a study to the next (trials, budgets, what is kept, hardware)
    is not in it.
    """
    base = plan.base.model_dump(mode="json")
    return {
        "space": plan.space.name,
        "file of the space": hashlib.sha256(plan.space.path.read_bytes()).hexdigest(),
        "recipe": plan.recipe,
        "objective": base.pop("objective"),
        **{f"recipe's {name}": value for name, value in base.items()},
        "inputs": inputs.model_dump(mode="json", exclude={"strict"}),
        "data files": dataset.files,
        "encoder": {
            "name": pretrained.name,
            "layers": pretrained.config.layers,
            "sha256": _sha256_of(pretrained),
        },
        **{name: getattr(settings, name) for name in ("halving", "eta", "first_rung", "sampler")},
        "pruner": settings.pruner,
    }


def _sha256_of(pretrained: Pretrained) -> str:
    digest = hashlib.sha256()
    for name in sorted(pretrained.weights):
        digest.update(pretrained.weights[name].tobytes())
    return digest.hexdigest()


def check_setup(study: Study, setup: dict[str, Any]) -> None:
    """Refuse to go on with a study that was made with other settings; InputError names the first.

    Args:
        study: to be gone on with.
        setup: of this run.
    """
    for name, value in setup.items():
        was = study.setup.get(name)
        if was == value:
            continue
        if isinstance(value, dict) and isinstance(was, dict):
            inner = next(key for key in {**was, **value} if was.get(key) != value.get(key))
            name, was, value = f"{name}, {inner}", was.get(inner), value.get(inner)
        raise InputError(
            f"the study was made with another {name}: {_short(was)}, and now it is "
            f"{_short(value)}; give what it was made with, or start a new run"
        )


def _short(value: Any) -> str:
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 60 else f"{text[:12]}…"


def find_run(settings: StudySettings, plan: Plan, setup: dict[str, Any]) -> RunFolder:
    """The run to resume: that of ``--name``, or the newest that was made with these settings.

    Raises:
        InputError: there is none.
    """
    out = open_directory(settings.out)
    if settings.name is not None:
        folder = RunFolder(join(settings.out, settings.name), settings.storage)
        if not folder.exists:
            raise InputError(f"{folder} holds no run to resume")
        return folder
    written = {name: out.modified(f"{name}/run.json") for name in out.directories()}
    names = sorted((at, name) for name, at in written.items() if at is not None)
    for _, name in reversed(names):
        folder = RunFolder(join(settings.out, name), settings.storage)
        try:
            study = folder.load_study()
            check_setup(study, setup)
        except InputError:
            continue
        return folder
    raise InputError(
        f"no run in {out} was made with these settings for space {plan.space.name}; give --name "
        "to hear what differs"
    )


def extend(plan: Plan, settings: StudySettings, study: Study) -> Plan:
    """The plan for a study that is resumed: as many trials as before, or more if asked for.

    Raises:
        InputError: fewer trials are asked for than there are.
    """
    planned = study.noted("planned") or len(study.trials)
    trials = planned if settings.trials is None else settings.trials
    if trials < len(study.trials):
        raise InputError(
            f"--trials {trials}: the study has {len(study.trials)} already; give as many or more"
        )
    return replace(plan, trials=trials)
