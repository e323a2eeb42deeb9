"""The generated data set for the first run and the tests: a small grammar with its own words.

It resembles the real tasks in what makes them hard. Sentiment turns on negation,
intensifiers and concessions; pairs that say the same share few words, and pairs that share most
words may differ in who did what to whom. The tasks are as unequal as the real ones, 16 : 1.5 : 1
in paraphrase, sentiment and similarity.

The labels are about as noisy as people's. A reader who knows what each text says scores .56 on
sentiment, .90 on paraphrase and .90 on similarity, .79 on average. The best single bert-base models
on the real data score .52, .88 and .875.
"""

import csv
import io
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from .tasks import TASKS, SplitName, Task

SIZES: dict[Task, dict[SplitName, int]] = {
    "sst": {"train": 270, "dev": 200, "test": 400},
    "para": {"train": 2900, "dev": 500, "test": 1000},
    "sts": {"train": 180, "dev": 150, "test": 300},
}
"""Examples of each task. Dev splits are less unequal than train splits: at 16 : 1.5 : 1, the
score of one of the smaller tasks would be mostly chance. Test splits are twice as large as dev
splits, as the real ones are for two of the tasks."""

# Standard deviation of the noise in labels, on the scale of the labels; share of wrong labels.
_SST_NOISE, _PARA_WRONG, _STS_NOISE = 0.85, 0.1, 0.9


class _Example(NamedTuple):
    """A row without its id.

    Attributes:
        sentences: one or two.
        truth: the label without noise, as the sentences tell it.
        label: the label that the row has, before it is rounded as in the file.
    """

    sentences: tuple[str, ...]
    truth: float
    label: float


def write_toy(folder: Path, seed: int = 0) -> None:
    """Write the nine files of the course layout into ``folder``, which must exist.

    The same seed gives the same bytes. No example of a task is repeated, within a split or
    between splits. Test files have no labels.
    """
    for task, sizes in SIZES.items():
        examples = _distinct(task, seed)
        for split, size in sizes.items():
            rows = list(itertools.islice(examples, size))
            path = folder / TASKS[task].file_name(split)
            path.write_text(_as_file(task, split, rows), encoding="utf-8", newline="")


def hidden_labels(seed: int) -> dict[Task, list[float]]:
    """The labels that the test files of ``write_toy`` leave out, in the order of their rows."""
    labels: dict[Task, list[float]] = {}
    for task, sizes in SIZES.items():
        before = sizes["train"] + sizes["dev"]
        rows = itertools.islice(_distinct(task, seed), before, before + sizes["test"])
        labels[task] = [float(_label_text(task, row.label)) for row in rows]
    return labels


def _distinct(task: Task, seed: int) -> Iterator[_Example]:
    """The examples of a task without an end, none of them twice."""
    makers: dict[Task, Callable[[random.Random], _Example]] = {
        "sst": _review,
        "para": _paraphrase,
        "sts": _similar,
    }
    generator = random.Random(f"{task} {seed}")
    seen = set()
    while True:
        example = makers[task](generator)
        key = frozenset(example.sentences)
        if key not in seen:
            seen.add(key)
            yield example


def _as_file(task: Task, split: SplitName, rows: list[_Example]) -> str:
    spec = TASKS[task]
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
    # The course's files begin with a column of row numbers that has no name.
    header = ["", "id", *spec.sentence_columns]
    writer.writerow(header if split == "test" else [*header, spec.label_column])
    for number, example in enumerate(rows):
        row = [str(number), f"{task}-{split}-{number}", *example.sentences]
        if split != "test":
            row.append(_label_text(task, example.label))
        writer.writerow(row)
    return stream.getvalue()


def _label_text(task: Task, label: float) -> str:
    return f"{label:.0f}" if task == "sst" else f"{label:.1f}"


def _clipped(value: float, low: float, high: float) -> float:
    return min(high, max(low, value))


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _words(text: str) -> list[str]:
    """Lists of words are easier to read without quotation marks."""
    return text.split()


# Sentiment: reviews with a value from -2 to 2

_OPINIONS = {
    2: _words("superb wonderful brilliant magnificent outstanding flawless stunning perfect"),
    1: _words("good pleasant nice decent charming likeable enjoyable fine"),
    0: _words("average ordinary passable unremarkable middling plain standard adequate"),
    -1: _words("bad weak dull poor bland clumsy disappointing boring"),
    -2: _words("awful terrible dreadful horrible atrocious unbearable disgusting appalling"),
}
_STRENGTHENERS = _words("very really extremely truly deeply")
_SUBJECTS = _words(
    "plot film acting music dialogue ending script cast pacing humour novel story service food "
    "soup room concert game stage design exhibition lecture hotel show"
)
_JUDGEMENTS = (
    "the {subject} was {opinion}",
    "I found the {subject} {opinion}",
    "the {subject} seemed {opinion} to me",
    "critics called the {subject} {opinion}",
    "we thought the {subject} {opinion}",
    "on the whole the {subject} is {opinion}",
)
_BOTH = ("{main} and {aside}", "{main}, while {aside}", "{main}; {aside}")
_BUT = ("although {aside}, {main}", "{aside}, but {main}", "{main}, though {aside}")


def _review(generator: random.Random) -> _Example:
    value = generator.randint(-2, 2)
    text = _judgement(value, generator)
    turn = generator.random()
    if turn < 0.6:
        aside = _judgement(value, generator)
        text = generator.choice(_BOTH).format(main=text, aside=aside)
    elif turn < 0.75 and value:
        # The main clause decides, and a mild concession changes nothing.
        aside = _judgement(-value // abs(value), generator)
        text = generator.choice(_BUT).format(main=text, aside=aside)
    label = _clipped(round(value + 2 + generator.gauss(0, _SST_NOISE)), 0, 4)
    return _Example((_sentence(text),), value + 2, label)


def _judgement(value: int, generator: random.Random) -> str:
    """A clause of this value."""
    turn = generator.random()
    if abs(value) == 2 and turn < 0.4:
        opinion = f"{generator.choice(_STRENGTHENERS)} {generator.choice(_OPINIONS[value // 2])}"
    elif abs(value) == 1 and turn < 0.15:
        # "not good" is bad, and so is "not superb", though not terrible.
        opposite = generator.choice(_OPINIONS[-value] + _OPINIONS[-2 * value])
        opinion = f"{generator.choice(['not', 'hardly'])} {opposite}"
    else:
        opinion = generator.choice(_OPINIONS[value])
    form = generator.choice(_JUDGEMENTS)
    return form.format(subject=generator.choice(_SUBJECTS), opinion=opinion)


# Pairs: small events, worded in several ways. A slash separates words for the same thing.

_PEOPLE = _words(
    "doctor/physician child/kid lawyer/attorney farmer/grower teacher/instructor "
    "policeman/officer singer/vocalist pilot/aviator sailor/seaman writer/author "
    "thief/robber boss/manager tourist/visitor actor/performer soldier/trooper "
    "guard/watchman merchant/trader priest/clergyman baker nurse judge neighbour"
)
_DEEDS_TO_PEOPLE = _words(
    "helped/assisted phoned/called chased/pursued met/encountered thanked blamed/accused "
    "hired/employed followed/trailed rescued/saved praised/commended visited scolded/rebuked "
    "tricked/fooled injured/hurt"
)
_DEEDS_TO_THINGS = _words(
    "bought/purchased fixed/repaired painted sold lost/misplaced found/discovered "
    "cleaned/washed built/constructed carried/hauled burned/torched borrowed moved/shifted "
    "examined/inspected photographed"
)
_THINGS = _words(
    "car/automobile bicycle/bike house/home boat/ship table letter coat/jacket guitar "
    "computer/laptop cup/mug couch/sofa painting/picture rug/carpet stone/rock lamp "
    "phone/telephone ladder bag/sack"
)
_PLACES = (
    *("in the park", "near the river/by the river", "at the station", "in town/in the city"),
    *("at the market", "in the garden/in the yard", "behind the school", "at the airport"),
    *("on the beach/on the shore", "in the library", "next to the church/beside the church"),
)


@dataclass(frozen=True)
class _Event:
    """Who did what to whom or what, and where."""

    agent: str
    deed: str
    target: str
    place: str
    never: bool

    @property
    def among_people(self) -> bool:
        return self.deed in _DEEDS_TO_PEOPLE


# The share of each part of an event in the similarity of two.
_SHARES = {"agent": 0.25, "deed": 0.3, "target": 0.25, "place": 0.2}


def _event(generator: random.Random) -> _Event:
    among_people = generator.random() < 0.5
    agent, other = generator.sample(_PEOPLE, 2)
    return _Event(
        agent=agent,
        deed=generator.choice(_DEEDS_TO_PEOPLE if among_people else _DEEDS_TO_THINGS),
        target=other if among_people else generator.choice(_THINGS),
        place=generator.choice(_PLACES),
        never=generator.random() < 0.15,
    )


def _changed(event: _Event, part: str, generator: random.Random) -> _Event:
    """The same event with one part changed."""
    choices = {
        "agent": _PEOPLE,
        "deed": _DEEDS_TO_PEOPLE if event.among_people else _DEEDS_TO_THINGS,
        "target": _PEOPLE if event.among_people else _THINGS,
        "place": _PLACES,
    }[part]
    taken = (getattr(event, part), event.agent, event.target)
    change: dict[str, Any] = {
        part: generator.choice([concept for concept in choices if concept not in taken])
    }
    return replace(event, **change)


def _worded(event: _Event, generator: random.Random) -> str:
    """One of many sentences for the event."""

    def word(concept: str) -> str:
        return generator.choice(concept.split("/"))

    agent, target = f"the {word(event.agent)}", f"the {word(event.target)}"
    deed = f"{'never ' if event.never else ''}{word(event.deed)}"
    if generator.random() < 0.7:
        core = f"{agent} {deed} {target}"
    else:
        core = f"{target} was {deed} by {agent}"
    if generator.random() < 0.75:
        return _sentence(f"{core} {word(event.place)}")
    return _sentence(f"{word(event.place)} {core}")


def _paraphrase(generator: random.Random) -> _Example:
    event = _event(generator)
    same = generator.random() < 0.5
    other = event if same else _look_alike(event, generator)
    label = same != (generator.random() < _PARA_WRONG)
    return _Example((_worded(event, generator), _worded(other, generator)), same, label)


def _look_alike(event: _Event, generator: random.Random) -> _Event:
    """Another event that shares much with this one."""
    turn = generator.random()
    if turn < 0.1 and event.among_people:
        return replace(event, agent=event.target, target=event.agent)
    if turn < 0.2:
        return replace(event, never=not event.never)
    for part in generator.sample(list(_SHARES), generator.choice([1, 2, 3, 3])):
        event = _changed(event, part, generator)
    return event


def _similar(generator: random.Random) -> _Example:
    event = other = _event(generator)
    parts = generator.sample(list(_SHARES), generator.randint(0, len(_SHARES)))
    similarity = 5.0
    for part in parts:
        other = _changed(other, part, generator)
        similarity -= 5 * _SHARES[part]
    label = _clipped(similarity + generator.gauss(0, _STS_NOISE), 0, 5)
    return _Example((_worded(event, generator), _worded(other, generator)), similarity, label)
