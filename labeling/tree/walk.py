"""Walks many reports through the tree of questions side by side.

A round asks all that is due about all reports at once. The first asks only whether each finding is
possibly there, of the whole report; sites, likelihood, severity and place are asked where that may
be, so a normal report costs one short round and the questions about stability and absence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from labeling.llm.interface import LanguageModel, ScoreRequest, Scores, Stem
from labeling.places import locations_of, names_place
from labeling.token_scores.evidence import Key
from labeling.tree.questions import (
    DENIED,
    GRADED,
    LOCATED,
    LOCATION,
    NO,
    ROOT,
    SEVERITY,
    YES,
    Answers,
    due,
    due_on_the_likeliest_way,
    normal,
    share_of,
)
from labeling.tree.wording import Wording
from labeling.vocabulary import WHOLE

Query = tuple[str, str]
"""A question's name, and the id of the location that it asks about (else empty)."""


@dataclass
class Case:
    """A cleaned report on its way through the tree.

    Args:
        wording: the words of its language.
        report: cleaned by ``token_scores.prompt.report_for_prompt``.
        keys: the labels that are wanted, whole before sites.
        floors: by label, where the band of its threshold begins.
        all_ways: ask on every way that may count, and not on the likeliest alone.
        answers: by label and question, what was answered so far.
    """

    wording: Wording
    report: str
    keys: tuple[Key, ...]
    floors: Mapping[Key, float]
    all_ways: bool = True
    answers: dict[Key, dict[Query, Scores]] = field(default_factory=dict)

    def presence(self, key: Key) -> Answers:
        """Return the answers about presence for a label."""
        return {name: scores for (name, place), scores in self.answers[key].items() if not place}

    def asked(self, key: Key) -> bool:
        """Tell whether a label was asked about at all."""
        return (ROOT, "") in self.answers.get(key, {})

    def due(self) -> dict[Key, list[Query]]:
        """Return the questions to ask next, by label."""
        wanted = {key: self._due(key) for key in self.keys}
        return {key: places for key, places in wanted.items() if places}

    def _due(self, key: Key) -> list[Query]:
        share = share_of(self.floors[key])
        given = self.answers.get(key, {})
        if key[1] != WHOLE and not self._worth_a_site(key, share):
            # What is denied of the whole report may be denied at some sites only.
            denied = said_yes(self.answers.get((key[0], WHOLE), {}).get((DENIED, "")))
            return [(DENIED, "")] if denied and not given else []
        places = [(name, "") for name in self._presence_due(key, share)] if given else [(ROOT, "")]
        if said_yes(given.get((ROOT, ""))):
            places += [place for place in self._details(key, given) if place not in given]
        return places

    def _presence_due(self, key: Key, share: float) -> list[str]:
        answers = self.presence(key)
        return due(answers, share) if self.all_ways else due_on_the_likeliest_way(answers)

    def _worth_a_site(self, key: Key, share: float) -> bool:
        whole = self.answers.get((key[0], WHOLE), {}).get((ROOT, ""))
        return whole is not None and whole[YES] >= math.log(share)

    def _details(self, key: Key, given: Mapping[Query, Scores]) -> list[Query]:
        places: list[Query] = []
        if self.wording.asks_severity(key[0]):
            places.append((SEVERITY if said_yes(given.get((GRADED, ""))) else GRADED, ""))
        schema = self.wording.schema
        named = [
            each.id
            for each in locations_of(schema, schema.observation(key[0]))
            if names_place(self.report, each)
        ]
        if named and said_yes(given.get((LOCATED, ""))):
            places += [(LOCATION, each) for each in named]
        elif named:
            places.append((LOCATED, ""))
        return places


def said_yes(scores: Scores | None) -> bool:
    """Tell whether the answer to a question is yes; a question that was not asked has none."""
    return scores is not None and scores[YES] > scores[NO]


def walk(model: LanguageModel, cases: Sequence[Case], batch: int) -> None:
    """Ask about each case until nothing is due; the answers are put into the cases.

    Args:
        model: any; it is given at most ``batch`` reports at once, those of like length together.

    Raises:
        UnusableLanguageModel, ModelUnavailable: as the model says.
    """
    waiting = [(case, wanted) for case in cases if (wanted := case.due())]
    while waiting:
        waiting.sort(key=lambda each: len(each[0].report))
        for start in range(0, len(waiting), batch):
            _ask(model, waiting[start : start + batch])
        waiting = [(case, wanted) for case, _ in waiting if (wanted := case.due())]


def ask_root(
    model: LanguageModel, reports: Sequence[tuple[Wording, str, tuple[Key, ...]]], batch: int
) -> list[dict[Key, float]]:
    """Return for each report, by label, the log-odds of "possibly present"."""
    cases = [Case(wording, report, keys, {}) for wording, report, keys in reports]
    order = sorted(range(len(cases)), key=lambda index: len(cases[index].report))
    for start in range(0, len(order), batch):
        chosen = [cases[index] for index in order[start : start + batch]]
        _ask(model, [(case, {key: [(ROOT, "")] for key in case.keys}) for case in chosen])
    answers = [{key: case.answers[key][ROOT, ""] for key in case.keys} for case in cases]
    return [{key: each[YES] - each[NO] for key, each in given.items()} for given in answers]


def _ask(model: LanguageModel, cases: Sequence[tuple[Case, dict[Key, list[Query]]]]) -> None:
    plans = [_by_observation(wanted) for _, wanted in cases]
    requests = [
        ScoreRequest(
            case.wording.reading(case.report),
            tuple(_stem(case.wording, name, plan[name]) for name in plan),
        )
        for (case, _), plan in zip(cases, plans, strict=True)
    ]
    for (case, _), plan, given in zip(cases, plans, model.score(requests), strict=True):
        for asked, scores in zip(plan.values(), given, strict=True):
            for (key, place), each in zip(asked, scores, strict=True):
                case.answers.setdefault(key, {})[place] = normal(each)


def _by_observation(wanted: Mapping[Key, list[Query]]) -> dict[str, list[tuple[Key, Query]]]:
    plan: dict[str, list[tuple[Key, Query]]] = {}
    for key, places in wanted.items():
        plan.setdefault(key[0], []).extend((key, place) for place in places)
    return plan


def _stem(wording: Wording, observation: str, asked: Sequence[tuple[Key, Query]]) -> Stem:
    questions = (wording.question(name, *key, place) for key, (name, place) in asked)
    return Stem((wording.stem(observation),), tuple(questions))
