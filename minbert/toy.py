"""The generated data set for the first run and the tests: a small grammar with its own words.

It resembles the real tasks in what makes them hard. Sentiment turns on negation,
intensifiers and concessions; pairs that say the same share few words, and pairs that share most
words may differ in who did what to whom; and some labels are noise, as people's are.
"""

import csv
import io
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .tasks import TASKS, SplitName, Task

SIZES: dict[SplitName, int] = {"train": 1200, "dev": 300, "test": 300}
"""Examples of each task."""

# A row without its id: one or two sentences, then the label.
_Example = tuple[tuple[str, ...], float]


def write_toy(folder: Path, seed: int = 0) -> None:
    """Write the nine files of the course layout into ``folder``, which must exist.

    The same seed gives the same bytes. No example of a task is repeated, within a split or
    between splits. Test files have no labels.
    """
    makers: dict[Task, Callable[[random.Random], _Example]] = {
        "sst": _review,
        "para": _paraphrase,
        "sts": _similar,
    }
    for task, make in makers.items():
        examples = _distinct(make, random.Random(f"{task} {seed}"))
        for split, size in SIZES.items():
            rows = [next(examples) for _ in range(size)]
            path = folder / TASKS[task].file_name(split)
            path.write_text(_as_file(task, split, rows), encoding="utf-8", newline="")


def _distinct(
    make: Callable[[random.Random], _Example], generator: random.Random
) -> Iterator[_Example]:
    seen = set()
    while True:
        sentences, label = make(generator)
        key = frozenset(sentences)
        if key not in seen:
            seen.add(key)
            yield sentences, label


def _as_file(task: Task, split: SplitName, rows: list[_Example]) -> str:
    spec = TASKS[task]
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
    # The course's files begin with a column of row numbers that has no name.
    header = ["", "id", *spec.sentence_columns]
    writer.writerow(header if split == "test" else [*header, spec.label_column])
    for number, (sentences, label) in enumerate(rows):
        row = [str(number), f"{task}-{split}-{number}", *sentences]
        if split != "test":
            row.append(f"{label:.0f}" if spec.name == "sst" else f"{label:.1f}")
        writer.writerow(row)
    return stream.getvalue()


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
    value = wanted = generator.randint(-2, 2)
    text = _judgement(wanted, generator)
    turn = generator.random()
    if turn < 0.6:
        aside = _judgement(wanted, generator)
        text = generator.choice(_BOTH).format(main=text, aside=aside)
    elif turn < 0.75 and wanted:
        # The main clause decides, and a mild concession changes nothing.
        aside = _judgement(-wanted // abs(wanted), generator)
        text = generator.choice(_BUT).format(main=text, aside=aside)
    if generator.random() < 0.05:
        value += generator.choice([step for step in (-1, 1) if -2 <= value + step <= 2])
    return (_sentence(text),), value + 2


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
    # One label in twenty is wrong.
    label = same != (generator.random() < 0.05)
    return (_worded(event, generator), _worded(other, generator)), float(label)


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
    similarity += generator.gauss(0, 0.3)
    return (_worded(event, generator), _worded(other, generator)), min(5.0, max(0.0, similarity))
