"""Whether the words about chance are true, over many searches in which the truth is known.

    python -m bench.honesty [--searches 200] [--pairs 200]

Searches of 20 configurations that are truly equal: each answers every dev example right with the
same probability, at each of its reports. Counted are the pages that call the winner's lead more
than chance; 5 % of them may. Halving and pruning are as they come.

Pairs of checkpoints whose true difference is known: accuracies by their probabilities, and the
correlation of a label and the same label with noise, σ(label) / √(σ(label)² + σ(noise)²). Counted
are the 95 % intervals of `search.review --compare` that hold it.
"""

import argparse
import math
import re
import tempfile
from pathlib import Path

import numpy as np

from minbert.tasks import TASK_NAMES
from minbert.weights import EQUAL_WEIGHTS
from search.analysis.noise import paired_difference
from search.review.page.report import page
from search.review.reading import read_run
from testkit.synthetic import SIMILARITY_NOISE, draw_labels, draw_predictions, synthetic_run

CONFIGURATIONS, REPORTS, EXAMPLES, SKILL = 20, 3, 400, 0.6
SUGGESTING = re.compile(
    r"better|superior|improve|outperform|larger than the choice of the dev",
    flags=re.IGNORECASE,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--searches", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=200)
    arguments = parser.parse_args()
    suggesting = sum(_page_suggests(seed) for seed in range(arguments.searches))
    share = suggesting / arguments.searches
    print(
        f"{arguments.searches} searches of {CONFIGURATIONS} equal configurations: {suggesting} "
        f"pages ({share:.1%}) say or suggest that the winner is better"
    )
    for name, held in _intervals_that_hold(arguments.pairs).items():
        print(
            f"{arguments.pairs} pairs, {name}: {held / arguments.pairs:.1%} of the intervals hold"
        )


def _page_suggests(seed: int) -> bool:
    with tempfile.TemporaryDirectory() as temporary:
        folder = synthetic_run(
            Path(temporary) / "run",
            lambda trial, step: SKILL,  # noqa: ARG005
            examples=EXAMPLES,
            seed=seed,
            trials=CONFIGURATIONS,
            epochs=REPORTS,
            sampler="random",
        )
        text = page(read_run(folder))
    said = re.sub(r"<(script|style)\b.*?</\1>", "", text, flags=re.DOTALL)
    return bool(SUGGESTING.search(said))


def _intervals_that_hold(pairs: int) -> dict[str, int]:
    held = dict.fromkeys([*TASK_NAMES, "score"], 0)
    for seed in range(pairs):
        draw = np.random.default_rng([seed, 1])
        skills = draw.uniform(0.5, 0.9, size=2)
        labels = draw_labels(EXAMPLES, draw)
        first, second = (draw_predictions(labels, skill, draw) for skill in skills)
        truth = {"sst": skills[1] - skills[0], "para": skills[1] - skills[0]}
        truth["sts"] = _correlation(skills[1]) - _correlation(skills[0])
        truth["score"] = sum(truth.values()) / 3
        for name, found in paired_difference(labels, first, second, EQUAL_WEIGHTS).items():
            held[name] += bool(found.low <= truth[name] <= found.high)
    return held


def _correlation(skill: float) -> float:
    # Labels are uniform over 0 to 5.
    variance = 25 / 12
    return math.sqrt(variance / (variance + (SIMILARITY_NOISE * (1 - skill)) ** 2))


if __name__ == "__main__":
    main()
