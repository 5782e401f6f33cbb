"""The order in which a simulated report goes through its findings, and its impression."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from labeling.vocabulary import State
from plugin.simulation.reports_wording import (
    ORDERS,
    Claim,
    Opinion,
    Statement,
    Wording,
    denial,
    listed,
    phrases,
    sentence,
    with_article,
    without_article,
)
from plugin.simulation.truth import LEVELS, OBSERVATIONS


@dataclass(frozen=True)
class Reading:
    """A reader's opinions and how much of them is put in words.

    ``omitted`` observations are not spoken of at all; ``unsaid_rate`` is the share of absent
    findings that are left out beside something else worth saying.
    """

    opinions: Mapping[tuple[str, str], Opinion]
    omitted: frozenset[str]
    unsaid_rate: float

    def spoken(self) -> tuple[str, ...]:
        """Return the observations that the report speaks of."""
        return tuple(each for each in OBSERVATIONS if each not in self.omitted)

    def at(self, state: State, observation: str) -> list[str]:
        """Return the discs with this opinion, top to bottom."""
        return [each for each in LEVELS if self.opinions[observation, each].state is state]

    def nowhere(self) -> list[str]:
        """Return the spoken observations that are absent at every disc."""
        return [each for each in self.spoken() if len(self.at(State.ABSENT, each)) == len(LEVELS)]

    def normal(self, level: str) -> bool:
        """Tell whether everything that is spoken of is absent at this disc."""
        return all(self.opinions[each, level].state is State.ABSENT for each in self.spoken())


@dataclass(frozen=True)
class Line:
    """A line of text: a prefix (a level's name, a number) and sentences."""

    statements: tuple[Statement, ...]
    prefix: str = ""


def positives(
    wording: Wording, reading: Reading, level: str, observations: Sequence[str]
) -> list[Statement]:
    """Word what is present at a disc under a heading that names it, in one sentence or several."""
    joined = len(observations) > 1 and wording.voice.chance(f"join/{level}", 0.5)
    if joined:
        found = [_noun_phrase(wording, reading, each, level, plain=True) for each in observations]
        first, *others = [with_article(each) for each in found]
        text = f"There is {first} with {listed(others, 'and')}."
        if wording.telegraphic:
            text = f"{without_article(found[0])} with {listed(others, 'and')}."
        claims = tuple(Claim(each, level, State.PRESENT) for each in observations)
        return [Statement(sentence(text), claims)]
    return [_positive(wording, reading, each, level, located=False) for each in observations]


def _noun_phrase(
    wording: Wording, reading: Reading, observation: str, level: str, *, plain: bool
) -> str:
    herniation = reading.opinions["herniation", level].state
    degree = reading.opinions[observation, level].degree
    explained = herniation is not State.ABSENT
    return wording.finding(observation, level, degree, plain=plain, explained=explained)


def _positive(
    wording: Wording, reading: Reading, observation: str, level: str, *, located: bool
) -> Statement:
    """Word one finding that is present; ``located`` says where within the sentence."""
    slot = f"positive/{observation}/{level}"
    degree = reading.opinions[observation, level].degree
    claims = (Claim(observation, level, State.PRESENT),)
    if not located and wording.voice.chance(f"{slot}/own", 0.3):
        own = wording.voice.pick(slot, wording.options(observation, "sentences", degree))
        return Statement(sentence(wording.fill(own, observation, level, degree)), claims)
    found = _noun_phrase(wording, reading, observation, level, plain=False)
    where = wording.where(observation, level) if located else ""
    if observation == "spondylolisthesis":
        where = ""  # its phrases name the vertebrae
    forms = ["There is {a_np}{where}.", "{a_np} is seen{where}.", "{a_np} is noted{where}."]
    if wording.telegraphic:
        forms = ["{np}{where}."]
    text = wording.voice.pick(f"{slot}/form", forms).format(
        np=without_article(found), a_np=with_article(found), where=where
    )
    return Statement(sentence(text), claims)


def negatives(wording: Wording, level: str, observations: Sequence[str]) -> list[Statement]:
    """Word what is absent at a disc: some in one negation over a list, some one by one."""
    together = [each for each in observations if wording.voice.chance(f"list/{level}/{each}", 0.6)]
    if len(together) < 2:
        together = []
    said = []
    for each in observations:
        if each in together:
            continue
        template = wording.voice.pick(f"absent/{level}/{each}", wording.options(each, "absent", 1))
        said.append(denial(sentence(wording.fill(template, each, level, None)), [each], [level]))
    if together:
        said.append(denial(wording.denied(together, level), together, [level]))
    return said


def level_statements(
    wording: Wording, reading: Reading, level: str, observations: Sequence[str]
) -> tuple[Statement, ...]:
    """Word everything that is said at one disc under a heading that names it."""
    by_state: dict[State, list[str]] = {state: [] for state in State}
    for each in observations:
        by_state[reading.opinions[each, level].state].append(each)
    present, absent = by_state[State.PRESENT], by_state[State.ABSENT]
    if present or by_state[State.UNCERTAIN]:
        absent = [
            each
            for each in absent
            if not wording.voice.chance(f"unsaid/{level}/{each}", reading.unsaid_rate)
        ]
    said = positives(wording, reading, level, present) if present else []
    attach = present and absent and wording.voice.chance(f"without/{level}", 0.3)
    if attach:
        said[-1] = _attached(wording, said[-1], level, absent)
    said += [
        wording.doubt(each, level, located=False, kind="hedges")
        for each in by_state[State.UNCERTAIN]
    ]
    return tuple(said if attach else said + negatives(wording, level, absent))


def _attached(
    wording: Wording, statement: Statement, level: str, absent: Sequence[str]
) -> Statement:
    nouns = [wording.noun(each, f"without/{level}") for each in absent]
    text = f"{statement.text.rstrip('.')}, without {listed(nouns, 'or')}."
    return Statement(text, statement.claims + denial("", absent, [level]).claims)


def _by_level(
    wording: Wording, reading: Reading, levels: Sequence[str], *, group: bool
) -> list[Line]:
    """Go from disc to disc, each on its own line; normal neighbours may share one."""
    order = wording.voice.pick("observation order", ORDERS)
    spoken = [each for each in order if each not in reading.omitted]
    lines = []
    aligned = "spondylolisthesis" in reading.nowhere() and wording.voice.chance("aligned", 0.5)
    if aligned:
        lines.append(Line((_nowhere(wording, "spondylolisthesis"),)))
        spoken.remove("spondylolisthesis")
    mark = wording.voice.pick("mark", (":", ":", " -"))
    for shared in _shared(reading, levels, group=group):
        if reading.normal(shared[0]):
            said = _normal_statements(wording, reading, shared, spoken)
        else:
            said = level_statements(wording, reading, shared[0], spoken)
        ends = list(dict.fromkeys((shared[0], shared[-1])))
        if said:
            name = " to ".join(wording.level(each) for each in ends)
            lines.append(Line(said, f"{name}{mark}"))
    return lines


def _shared(reading: Reading, levels: Sequence[str], *, group: bool) -> list[list[str]]:
    """Return the discs that share a line: normal neighbours, or each alone."""
    runs = [(normal, list(run)) for normal, run in groupby(levels, key=reading.normal)]
    return [
        shared
        for normal, run in runs
        for shared in ([run] if normal and group else [[each] for each in run])
    ]


def _normal_statements(
    wording: Wording, reading: Reading, levels: Sequence[str], spoken: Sequence[str]
) -> tuple[Statement, ...]:
    slot = f"normal/{levels[0]}"
    if not reading.omitted and wording.voice.chance(f"{slot}/brief", 0.6):
        text = wording.voice.pick(slot, phrases()["unremarkable"])
        return (denial(sentence(text), OBSERVATIONS, levels),)
    if len(levels) == 1:
        return tuple(negatives(wording, levels[0], spoken))
    return (denial(wording.denied(spoken, slot), spoken, levels),) if spoken else ()


def _nowhere(wording: Wording, observation: str) -> Statement:
    template = wording.voice.pick(
        f"nowhere/{observation}", wording.options(observation, "nowhere", None)
    )
    return denial(sentence(template), [observation])


def _top_down(wording: Wording, reading: Reading) -> list[Line]:
    return _by_level(wording, reading, LEVELS, group=False)


def _bottom_up(wording: Wording, reading: Reading) -> list[Line]:
    return _by_level(wording, reading, LEVELS[::-1], group=False)


def _grouped(wording: Wording, reading: Reading) -> list[Line]:
    return _by_level(wording, reading, LEVELS, group=True)


def _by_observation(wording: Wording, reading: Reading) -> list[Line]:
    """Go from observation to observation over the whole lumbar spine."""
    order = wording.voice.pick("observation order", ORDERS)
    lines = []
    for each in (each for each in order if each not in reading.omitted):
        said = _located(wording, reading, each)
        if not said:
            said = [_nowhere(wording, each)]
        else:
            said += _elsewhere(wording, reading, each)
        lines.append(Line(tuple(said)))
    return lines


def _pathology_first(wording: Wording, reading: Reading) -> list[Line]:
    """Say what is there, then what is not."""
    order = wording.voice.pick("observation order", ORDERS)
    spoken = [each for each in order if each not in reading.omitted]
    lines = [Line(tuple(said)) for each in spoken if (said := _located(wording, reading, each))]
    rest = [said for each in spoken for said in _elsewhere(wording, reading, each)]
    nowhere = reading.nowhere()
    if len(nowhere) > 1 and wording.voice.chance("deny together", 0.6):
        rest.append(denial(wording.denied(nowhere, "nowhere"), nowhere))
    else:
        rest += [_nowhere(wording, each) for each in nowhere]
    return [*lines, Line(tuple(rest))] if rest else lines


def _located(wording: Wording, reading: Reading, observation: str) -> list[Statement]:
    """Word an observation where it is present or doubtful, naming the discs in the sentence."""
    said: list[Statement] = []
    for levels in _graded_together(wording, reading, observation):
        if len(levels) > 1 and observation != "herniation":
            said.append(_together(wording, reading, observation, levels, "located"))
        else:
            said += [
                _positive(wording, reading, observation, level, located=True) for level in levels
            ]
    doubtful = reading.at(State.UNCERTAIN, observation)
    return said + [
        wording.doubt(observation, level, located=True, kind="hedges") for level in doubtful
    ]


def _elsewhere(wording: Wording, reading: Reading, observation: str) -> list[Statement]:
    """Deny an observation at the discs where it was not seen, or leave them unsaid."""
    absent = reading.at(State.ABSENT, observation)
    partly = 0 < len(absent) < len(LEVELS)
    if not partly or wording.voice.chance(f"unsaid/{observation}", reading.unsaid_rate):
        return []
    template = wording.voice.pick(
        f"elsewhere/{observation}", wording.options(observation, "elsewhere", None)
    )
    return [denial(sentence(template), [observation], absent)]


LAYOUTS: Mapping[str, Callable[[Wording, Reading], list[Line]]] = {
    "top_down": _top_down,
    "bottom_up": _bottom_up,
    "grouped": _grouped,
    "by_observation": _by_observation,
    "pathology_first": _pathology_first,
}
"""How a report may order its findings, by name."""


def impression(wording: Wording, reading: Reading) -> list[Line]:
    """Sum up what is present and doubtful, then perhaps what is absent everywhere."""
    weights = ("stenosis", "herniation", "spondylolisthesis", "disc_narrowing")
    spoken = [each for each in weights if each not in reading.omitted]
    items = [item for each in spoken for item in _summary(wording, reading, each)]
    items += [
        wording.doubt(each, level, located=True, kind="summary_hedges")
        for each in spoken
        for level in reading.at(State.UNCERTAIN, each)
    ]
    nowhere = reading.nowhere()
    if not items and not reading.omitted:
        text = wording.voice.pick("normal summary", phrases()["normal_summaries"])
        items = [denial(text, OBSERVATIONS)]
    elif nowhere and (not items or wording.voice.chance("summarise absent", 0.4)):
        items.append(denial(wording.denied(nowhere, "summary"), nowhere))
    if len(items) > 1 and wording.voice.chance("numbered", 0.5):
        return [Line((each,), f"{i}.") for i, each in enumerate(items, 1)]
    return [Line(tuple(items))] if items else []


def _summary(wording: Wording, reading: Reading, observation: str) -> list[Statement]:
    """Sum up one observation, discs of one grade together."""
    groups = _graded_together(wording, reading, observation)
    if observation == "herniation":
        groups = [[level for levels in groups for level in levels]] if groups else []
    return [_together(wording, reading, observation, levels, "summary") for levels in groups]


def _graded_together(wording: Wording, reading: Reading, observation: str) -> list[list[str]]:
    """Group the discs at which an observation is present by its grade, in order of level."""
    groups: dict[str, list[str]] = {}
    for level in reading.at(State.PRESENT, observation):
        grade = wording.grade(observation, reading.opinions[observation, level].degree)
        names_vertebrae = observation == "spondylolisthesis"
        groups.setdefault(level if names_vertebrae else grade, []).append(level)
    return list(groups.values())


def _together(
    wording: Wording, reading: Reading, observation: str, levels: Sequence[str], slot: str
) -> Statement:
    """Word one observation at several discs in one sentence; the first disc gives the grade."""
    several = observation == "herniation" and len(levels) > 1
    options = wording.options(observation, "plural_summary" if several else "summary", 1)
    template = wording.voice.pick(f"{slot}/{observation}", options)
    located = template.replace("{levels}", wording.levels(sorted(levels)))
    degree = reading.opinions[observation, levels[0]].degree
    text = sentence(wording.fill(located, observation, levels[0], degree))
    return Statement(text, tuple(Claim(observation, each, State.PRESENT) for each in levels))
