"""What trainings of the same configurations with several seeds differ by.

    python -m bench.components

The trainings are those of ``bench.repeats``, on small and on full data. ``bench.truth`` draws
searches with what is found here.
"""

from collections.abc import Iterator

import numpy as np
from rich.console import Console
from scipy.optimize import brentq
from scipy.stats import multivariate_normal, norm

from bench.repeats import RECORDINGS, Bank, load_bank
from bench.truth import CLASSES
from minbert.evaluate import grade
from minbert.tasks import TASK_NAMES, Task
from minbert.weights import EQUAL_WEIGHTS
from search.analysis.noise import Bootstrap
from search.confirmation.trainings import FOLDS
from search.storage.predictions import TaskArrays

_RESAMPLES = 400


def components(bank: Bank) -> Iterator[str]:
    """What trainings differ by, one line each; scores in points."""
    place = bank.unseen
    scores = 100 * bank.scores(place)
    count, seeds = scores.shape
    examples = sum(map(len, bank.labels[place].values()))
    yield (
        f"{count} configurations, {seeds} seeds each, scored on {examples:,} "
        f"{'held-out' if place == 'held' else place} examples. Mean differences to the recipe, in "
        "points: "
        + " ".join(f"{value:+.1f}" for value in sorted(100 * bank.truths[1:], reverse=True))
    )
    of_recipe = {
        task: np.mean(
            [
                grade(task, bank.predictions[place][task][0][seed], labels, CLASSES).score
                for seed in range(seeds)
            ]
        )
        for task, labels in bank.labels[place].items()
    }
    yield "Scores of the recipe: " + ", ".join(f"{t} {s:.3f}" for t, s in of_recipe.items())
    residual = scores - scores.mean(axis=1, keepdims=True) - scores.mean(axis=0) + scores.mean()
    of_seed = scores.mean(axis=0).var(ddof=1)
    own = (residual**2).sum() / ((count - 1) * (seeds - 1))
    yield (
        f"Standard deviation of a score: over seeds of one configuration "
        f"{np.sqrt(scores.var(axis=1, ddof=1).mean()):.2f}; what a seed does to all configurations "
        f"{np.sqrt(max(0.0, of_seed - own / count)):.2f}, to one of them {np.sqrt(own):.2f}"
    )
    yield (
        "Standard deviation of the difference to the recipe over seeds: "
        f"{_spread_of_pairs(scores):.2f} with the same seed, "
        f"{np.sqrt(scores[1:].var(axis=1, ddof=1).mean() + scores[0].var(ddof=1)):.2f} with any; "
        f"with the same seed, each on the fold that it left out, "
        f"{_spread_of_pairs(100 * bank.scores('fold')):.2f}"
    )
    of_examples = 100 * _spread_of_examples(bank)
    quality = np.sqrt(max(0.0, own - of_examples**2))
    yield (
        f"Of what a seed does to one of them, the sample of examples makes {of_examples:.2f}; "
        f"without that, a run differs by {quality:.2f}, and a pair by {np.sqrt(2) * quality:.2f}"
    )
    for task in TASK_NAMES:
        example, configuration, seed, run = shares_of(bank, task)
        _, same_seed, neither = alike = correlations_of(bank, task)
        shared = (alike[0] - neither) / (1 - same_seed)
        yield (
            f"{task}: of what decides an answer, the example is {example:.2f}, configuration × "
            f"example {configuration:.2f}, seed × example {seed:.2f}, run × example {run:.2f}; of "
            f"what examples add to the variance of a pair, all seeds share {shared:.2f}"
        )
    if place == "held":
        ratio, correlation = _overlap(bank)
        yield (
            f"Folds: squared error of the mean of five over its estimated variance {ratio:.2f} "
            f"(1: no correction is needed); correlation between folds {correlation:+.2f} (Nadeau "
            f"and Bengio would assume {1 / FOLDS:.2f})"
        )


def _spread_of_examples(bank: Bank) -> float:
    """Standard deviation of a run's score that comes from which examples it is scored on.

    What examples do to all seeds of a configuration, or to all configurations with a seed, is not
    in it. By the bootstrap of differences of differences between two configurations and two seeds,
    which have it four times.
    """
    place = bank.unseen
    bootstrap = Bootstrap(bank.labels[place], _RESAMPLES)
    runs: list[TaskArrays] = [
        {task: bank.predictions[place][task][number][seed] for task in TASK_NAMES}
        for number in range(len(bank.configurations))
        for seed in range(bank.seeds)
    ]
    scores = bootstrap.scores(runs, EQUAL_WEIGHTS)[1:]
    scores = scores.reshape(len(scores), len(bank.configurations), bank.seeds)
    differences = np.diff(np.diff(scores, axis=1), axis=2)
    return float(np.sqrt(differences.var(axis=0).mean() / 4))


def _spread_of_pairs(scores: np.ndarray) -> float:
    """Standard deviation over seeds of the difference to the recipe with the same seed."""
    return float(np.sqrt((scores[1:] - scores[0]).var(axis=1, ddof=1).mean()))


def shares_of(bank: Bank, task: Task) -> tuple[float, float, float, float]:
    """Parts of the variance of what decides an answer, as in ``bench.truth.Spread``.

    An answer of sst or para is right if a normal variable is below a threshold.

    Returns:
        Of the example, of configuration × example, of seed × example, and of run × example.
    """
    alike = correlations_of(bank, task)
    if task != "sts":
        labels = bank.labels[bank.unseen][task]
        right = float(np.mean(np.array(bank.predictions[bank.unseen][task]) == labels))
        alike = tuple(_tetrachoric(each, right) for each in alike)
    same_config, same_seed, neither = alike
    return (
        neither,
        same_config - neither,
        same_seed - neither,
        1 - same_config - same_seed + neither,
    )


def _tetrachoric(correlation: float, share: float) -> float:
    """Correlation of two normal variables, from that of whether they are below a threshold.

    Args:
        correlation: of whether they are.
        share: of those that are.
    """
    threshold = norm.ppf(share)
    both = share**2 + correlation * share * (1 - share)

    def exceeds(latent: float) -> float:
        covariance = [[1, latent], [latent, 1]]
        return float(multivariate_normal([0, 0], covariance).cdf([threshold] * 2)) - both

    most = 0.9999
    return 1.0 if exceeds(most) < 0 else float(brentq(exceeds, -most, most))


def correlations_of(bank: Bank, task: Task) -> tuple[float, ...]:
    """Correlations over unseen examples of the errors of two trainings.

    Returns:
        Of the same configuration with two seeds, of two configurations with the same seed, and of
        two configurations with two seeds.
    """
    labels = bank.labels[bank.unseen][task]
    # (configurations, seeds, examples)
    given = np.array(bank.predictions[bank.unseen][task])
    if task == "sts":
        centred = given - given.mean(axis=2, keepdims=True)
        scaled = centred / centred.std(axis=2, keepdims=True)
        goal = (labels - labels.mean()) / labels.std()
        errors = scaled - (scaled * goal).mean(axis=2, keepdims=True) * goal
    else:
        errors = (given == labels).astype(float)
    errors = errors - errors.mean(axis=2, keepdims=True)
    # From means of products of errors of two different trainings.
    configs, seeds = errors.shape[:2]
    own = (errors**2).sum(axis=(0, 1)).mean()
    of_config = (errors.sum(axis=1) ** 2).sum(axis=0).mean()
    of_seed = (errors.sum(axis=0) ** 2).sum(axis=0).mean()
    of_all = (errors.sum(axis=(0, 1)) ** 2).mean()
    total = own / (configs * seeds)
    same_config = (of_config - own) / (configs * seeds * (seeds - 1))
    same_seed = (of_seed - own) / (configs * (configs - 1) * seeds)
    neither = (of_all - of_config - of_seed + own) / (configs * (configs - 1) * seeds * (seeds - 1))
    return tuple(float(each / total) for each in (same_config, same_seed, neither))


def _overlap(bank: Bank) -> tuple[float, float]:
    """How the differences of folds vary around the truth, over all pairs of configurations."""
    fold, held = bank.scores("fold"), bank.scores("held")
    chosen = list(range(FOLDS))
    rest = [seed for seed in range(bank.seeds) if seed not in chosen]
    squared, expected, within, between = [], [], [], []
    for one in range(len(fold)):
        for other in range(one):
            differences = (fold[one] - fold[other])[chosen]
            true = held[one] - held[other]
            error = differences - true[rest].mean()
            of_truth = true.var(ddof=1) / len(rest)
            squared.append(error.mean() ** 2)
            expected.append(differences.var(ddof=1) / FOLDS + of_truth)
            within.append((error**2).mean() - of_truth)
            products = error.sum() ** 2 - (error**2).sum()
            between.append(products / (FOLDS * (FOLDS - 1)) - of_truth)
    return float(np.sum(squared) / np.sum(expected)), float(np.sum(between) / np.sum(within))


def main() -> None:
    console = Console(width=170)
    for of in RECORDINGS:
        console.print(f"[bold]{of} data[/bold]")
        for line in components(load_bank(of)):
            console.print(line, soft_wrap=True, highlight=False)


if __name__ == "__main__":
    main()
