"""Searches of other packages, asked for trials over standard input and output, by bench.methods.

These packages, Syne Tune 0.16 and NePS 0.17, do not install beside ours, so this script runs in an
environment of theirs and imports nothing of ours. A line is JSON. The first one, which has no
answer, gives the method, its seed, the reports of a full training (``total``), the parameters, and
the recipe's values if there is one. Then, with trials numbered from 0:

    {"ask": trial}                               {"config": {name: value}, "trained": reports}
    {"tell": trial, "step": step, "score": s}    {"goes_on": whether to train for another report}

A trial that continues another one has ``trained`` reports already, from its checkpoint.
"""

import datetime
import json
import logging
import os
import random
import sys
from typing import Any


class SyneTuneAsha:
    """Syne Tune's ASHA as it comes: it samples at random, and stops trials."""

    def __init__(self, setup: dict[str, Any]):
        import numpy as np
        from syne_tune.optimizer.baselines import ASHA

        np.random.seed(setup["seed"])  # the scheduler draws from it
        self._halving = ASHA(
            {name: self._domain(each) for name, each in setup["parameters"].items()},
            metric="score",
            time_attr="step",
            max_t=setup["total"],
            do_minimize=False,
            random_seed=setup["seed"],
        )
        self._trials: dict[int, Any] = {}

    @staticmethod
    def _domain(parameter: dict[str, Any]) -> Any:
        from syne_tune import config_space

        if parameter["kind"] == "categorical":
            return config_space.choice(parameter["choices"])
        low, high = parameter["low"], parameter["high"]
        if parameter["kind"] == "int":
            return (config_space.lograndint if parameter["log"] else config_space.randint)(
                low, high
            )
        return (config_space.loguniform if parameter["log"] else config_space.uniform)(low, high)

    def ask(self, number: int) -> tuple[dict[str, Any], int]:
        from syne_tune.backend.trial_status import Trial

        config = self._halving.suggest().config
        trial = Trial(number, config, datetime.datetime.now())
        self._trials[number] = trial
        self._halving.on_trial_add(trial)
        return config, 0

    def tell(self, number: int, step: int, score: float) -> bool:
        trial = self._trials[number]
        if self._halving.on_trial_result(trial, {"step": step, "score": score}) != "STOP":
            return True
        self._halving.on_trial_remove(trial)
        return False


class NepsPriorBand:
    """NePS's PriorBand around the recipe, which it tries first as our own searches do.

    Each of its trials trains up to a rung; otherwise it is as it comes.
    """

    def __init__(self, setup: dict[str, Any]):
        import neps
        import numpy as np
        import torch

        torch.set_num_threads(1)
        for seed in (random.seed, np.random.seed, torch.manual_seed):
            seed(setup["seed"])
        reports = neps.HPOInteger(1, setup["total"], is_fidelity=True)
        space = {
            name: self._parameter(each, setup["recipe"].get(name))
            for name, each in setup["parameters"].items()
        }
        self._search = neps.AskAndTell(
            neps.algorithms.priorband(
                neps.SearchSpace({**space, "reports": reports}), sample_prior_first=True
            )
        )
        self._trials: dict[int, Any] = {}

    @staticmethod
    def _parameter(parameter: dict[str, Any], prior: Any) -> Any:
        import neps

        around = {"prior": prior, "prior_confidence": "medium"}
        if parameter["kind"] == "categorical":
            return neps.HPOCategorical(parameter["choices"], **around)
        kind = neps.HPOInteger if parameter["kind"] == "int" else neps.HPOFloat
        return kind(parameter["low"], parameter["high"], log=parameter["log"], **around)

    def ask(self, number: int) -> tuple[dict[str, Any], int]:
        trial = self._search.ask()
        self._trials[number] = trial
        before = self._search.trials.get(trial.metadata.previous_trial_id)
        trained = before.config["reports"] if before else 0
        return {name: v for name, v in trial.config.items() if name != "reports"}, trained

    def tell(self, number: int, step: int, score: float) -> bool:
        trial = self._trials[number]
        if step < trial.config["reports"]:
            return True
        self._search.tell(trial, 1 - score)  # which it minimises
        return False


SEARCHES: dict[str, type[SyneTuneAsha | NepsPriorBand]] = {
    "Syne Tune ASHA": SyneTuneAsha,
    "NePS PriorBand": NepsPriorBand,
}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the packages print
    logging.disable(logging.WARNING)
    setup = json.loads(sys.stdin.readline())
    search = SEARCHES[setup["method"]](setup)
    for line in sys.stdin:
        asked = json.loads(line)
        answer: dict[str, Any]
        if "ask" in asked:
            config, trained = search.ask(asked["ask"])
            answer = {"config": config, "trained": trained}
        else:
            answer = {"goes_on": search.tell(asked["tell"], asked["step"], asked["score"])}
        # NumPy's numbers are no JSON.
        print(json.dumps(answer, default=lambda value: value.item()), file=answers, flush=True)


if __name__ == "__main__":
    main()
