"""Write simulated reports of lumbar spine MRI from a known truth, and know what each one says.

A report says less than the truth: some findings are hedged, some observations are not mentioned.
So every report carries what its own text says, sentence by sentence. The reports are simulated:
no sentence stems from a real report, and no clinical claim is made.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from labeling.vocabulary import WHOLE, State
from plugin.simulation.reports_findings import LAYOUTS, Line, Reading, impression
from plugin.simulation.reports_wording import (
    Claim,
    Opinion,
    Statement,
    Voice,
    Wording,
    abbreviate,
    misspell,
    phrases,
    precedence,
)
from plugin.simulation.truth import LEVELS, OBSERVATIONS, SpineTruth

Place = tuple[str, str]
"""Observation and site; the site is a disc level or ``WHOLE``."""

_DATE_FORMATS = ("%d.%m.%Y", "%d %B %Y", "%Y-%m-%d", "%d/%m/%Y")
_LAYOUT_SHARES = {
    "top_down": 0.28,
    "bottom_up": 0.12,
    "grouped": 0.25,
    "by_observation": 0.17,
    "pathology_first": 0.18,
}


@dataclass(frozen=True)
class Habits:
    """How the readers of a hospital write; shares between 0 and 1.

    Attributes:
        hedged_rate: of the findings that are present, the share worded as uncertain; of the
            absent ones, an eighth of that share is raised as a doubt.
        omitted_rate: share of observations absent everywhere of which a report says nothing at
            all. A tenth of it holds for observations that are present.
        unsaid_rate: share of absent findings left out at a disc that has another finding.
        typo_rate: share of long words that are misspelt.
        abbreviation_rate: share of sentences in which a word is shortened.
        brief_rate: share of reports that are brief notes without sections.
        graded: say grades and millimetres; switched off where only presence is known.
    """

    hedged_rate: float = 0.08
    omitted_rate: float = 0.15
    unsaid_rate: float = 0.25
    typo_rate: float = 0.01
    abbreviation_rate: float = 0.05
    brief_rate: float = 0.15
    graded: bool = True


@dataclass(frozen=True)
class Context:
    """What the reader knows of the patient besides the images."""

    age: int | None = None
    sex: str = ""  # "F", "M" or empty
    prior_date: dt.date | None = None


@dataclass(frozen=True)
class Draft:
    """All that decides a report's text; the same draft always gives the same text."""

    seed: int
    opinions: Mapping[Place, Opinion]
    omitted: frozenset[str]
    habits: Habits
    context: Context
    opening: str = ""
    with_impression: bool = True


@dataclass(frozen=True)
class GeneratedReport:
    """A simulated report and what its text says.

    ``states`` has, for every observation, a state for each disc level and for ``WHOLE``.
    ``spans`` gives for each place that is mentioned the characters (start, end) of the first
    sentence that says so. Both speak of the text, not of the truth behind it.
    """

    text: str
    states: Mapping[str, Mapping[str, State]]
    spans: Mapping[Place, tuple[int, int]]
    draft: Draft


def write_report(
    truth: SpineTruth,
    rng: np.random.Generator,
    *,
    habits: Habits | None = None,
    context: Context | None = None,
    unknown: frozenset[str] = frozenset(),
) -> GeneratedReport:
    """Write a report of a spine; the same arguments and generator state give the same text.

    Args:
        truth: what the spine has.
        rng: decides what is hedged or omitted, the layout and each phrase.
        habits: how the readers write.
        context: what the reader knows of the patient.
        unknown: observations of which the truth knows nothing; the report omits them.
    """
    habits = habits or Habits()
    opinions = {
        (observation, level): _opinion(truth, observation, level, habits, rng)
        for observation in OBSERVATIONS
        for level in LEVELS
    }
    omitted = {each for each in OBSERVATIONS if _omits(opinions, each, habits, rng)} | unknown
    return write(
        Draft(
            seed=int(rng.integers(2**63)),
            opinions=opinions,
            omitted=frozenset(omitted),
            habits=habits,
            context=context or Context(),
        )
    )


def changed(report: GeneratedReport, changes: Mapping[Place, State]) -> GeneratedReport:
    """Return the report as it would read had the reader thought otherwise at some places."""
    opinions = dict(report.draft.opinions)
    opinions.update({place: Opinion(state) for place, state in changes.items()})
    return write(replace(report.draft, opinions=opinions))


def corrected(report: GeneratedReport, earlier: GeneratedReport) -> GeneratedReport:
    """Return the report with a note that it corrects an earlier version that said otherwise."""
    wording = Wording(Voice(report.draft.seed))
    places = [
        place
        for place, opinion in report.draft.opinions.items()
        if earlier.draft.opinions[place].state is not opinion.state
    ]
    names = wording.levels(list(dict.fromkeys(level for _, level in places)))
    note = wording.voice.pick("correction", phrases()["correction"]).format(level=names)
    return write(replace(report.draft, opening=note))


def preliminary(report: GeneratedReport) -> GeneratedReport:
    """Return the unverified version that goes out first: findings without an impression."""
    note = Voice(report.draft.seed).pick("preliminary", phrases()["preliminary"])
    return write(replace(report.draft, opening=note, with_impression=False))


def write(draft: Draft) -> GeneratedReport:
    """Write the report of a draft."""
    page = _Page(draft)
    voice, wording = page.voice, Wording(page.voice)
    reading = Reading(draft.opinions, draft.omitted, draft.habits.unsaid_rate)
    brief = voice.chance("brief", draft.habits.brief_rate)
    layout = "pathology_first" if brief else _weighted(voice, "layout", _LAYOUT_SHARES)
    if draft.opening:
        page.add("opening", [Line((Statement(draft.opening),))], labelled=False)
    if voice.chance("title", 0.5) or brief:
        title = voice.pick("title text", phrases()["titles"])
        page.add("title", [Line((Statement(title),))], labelled=False)
    if not brief:
        _add_preamble(page, wording, draft.context)
    page.add("findings", _with_anatomy(voice, LAYOUTS[layout](wording, reading)))
    summary = impression(wording, reading)
    if draft.with_impression and summary and voice.chance("impression", 0.25 if brief else 0.92):
        page.add("impression", summary)
    return page.report()


def _opinion(
    truth: SpineTruth, observation: str, level: str, habits: Habits, rng: np.random.Generator
) -> Opinion:
    doubts = rng.random()  # always drawn, so that one finding does not shift all others
    present = truth.known(observation, level) and truth.present(observation, level)
    if doubts < habits.hedged_rate * (1.0 if present else 0.125):
        return Opinion(State.UNCERTAIN)
    if not present:
        return Opinion(State.ABSENT)
    degree: float = getattr(truth.levels[level], observation)
    return Opinion(State.PRESENT, degree if habits.graded else None)


def _omits(
    opinions: Mapping[Place, Opinion], observation: str, habits: Habits, rng: np.random.Generator
) -> bool:
    absent = all(opinions[observation, level].state is State.ABSENT for level in LEVELS)
    return bool(rng.random() < habits.omitted_rate * (1.0 if absent else 0.1))


def _weighted(voice: Voice, slot: str, shares: Mapping[str, float]) -> str:
    return voice.stream(slot).choices(list(shares), weights=list(shares.values()))[0]


def _add_preamble(page: _Page, wording: Wording, context: Context) -> None:
    """Add history, technique and comparison; none of them claims anything."""
    voice, stock = page.voice, phrases()
    if voice.chance("history", 0.85):
        months = voice.pick("months", range(2, 19))
        level = wording.level(voice.pick("history level", LEVELS))
        history = voice.pick("history text", stock["history"]).format(months=months, level=level)
        page.add("history", _plain(_person(voice, context) + history))
    if voice.chance("technique", 0.8):
        page.add("technique", _plain(voice.pick("technique text", stock["technique"])))
    if context.prior_date is not None:
        written = context.prior_date.strftime(voice.pick("date", _DATE_FORMATS))
        text = voice.pick("comparison text", stock["comparison_prior"]).format(date=written)
        page.add("comparison", _plain(text))
    elif voice.chance("comparison", 0.4):
        page.add("comparison", _plain(voice.pick("comparison text", stock["comparison_none"])))


def _person(voice: Voice, context: Context) -> str:
    names = {"F": "woman", "M": "man"}
    if context.age is None or context.sex not in names or voice.chance("no person", 0.6):
        return ""
    return f"{context.age}-year-old {names[context.sex]}. "


def _plain(text: str) -> list[Line]:
    return [Line((Statement(text),))]


def _with_anatomy(voice: Voice, lines: Sequence[Line]) -> list[Line]:
    """Add sentences on normal anatomy and incidental findings, which claim nothing."""
    stock = phrases()
    count = voice.pick("anatomy count", (0 if lines else 1, 1, 2, 2, 3))
    normal = voice.order("anatomy", stock["normal_anatomy"])[:count]
    incidental = voice.order("incidental", stock["incidental"])[: voice.pick("extras", (0, 0, 1))]
    ordered = list(lines)
    if normal:
        at = 0 if voice.chance("anatomy first", 0.5) else len(ordered)
        ordered.insert(at, Line(tuple(Statement(each) for each in normal)))
    return ordered + [Line((Statement(each),)) for each in incidental]


class _Page:
    """Puts lines on paper in the reader's style and remembers where each claim stands."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.voice = Voice(draft.seed)
        self._text = ""
        self._claims: list[tuple[Claim, tuple[int, int]]] = []
        self._style = self.voice.pick("heading style", ("block", "block", "inline", "none"))
        self._upper = self.voice.chance("upper headings", 0.6)

    def add(self, section: str, lines: Sequence[Line], *, labelled: bool = True) -> None:
        """Add a section; a history is always labelled, for it tells what may not be there."""
        if self._text:
            self._text += "\n" if self._style == "inline" else "\n\n"
        bare = self._style == "none" and section in ("findings", "technique")
        if labelled and not bare:
            name = self.voice.pick(f"heading/{section}", phrases()["headings"][section])
            block = self._style == "block"
            self._text += (
                f"{name if self._upper else name.capitalize()}:{chr(10) if block else ' '}"
            )
        for i, line in enumerate(lines):
            self._text += "\n" if i else ""
            self._add_line(f"{section}/{i}", line, spelt=not labelled)

    def _add_line(self, slot: str, line: Line, *, spelt: bool) -> None:
        self._text += f"{line.prefix} " if line.prefix else ""
        for i, statement in enumerate(line.statements):
            self._text += " " if i else ""
            text = statement.text if spelt else self._written(f"{slot}/{i}", statement.text)
            span = (len(self._text), len(self._text) + len(text))
            self._text += text
            self._claims += [(claim, span) for claim in statement.claims]

    def _written(self, slot: str, text: str) -> str:
        habits = self.draft.habits
        short = abbreviate(self.voice, slot, text, habits.abbreviation_rate)
        return misspell(self.voice, slot, short, habits.typo_rate)

    def report(self) -> GeneratedReport:
        """Return the finished report with what its text says."""
        states: dict[str, dict[str, State]] = {}
        spans: dict[Place, tuple[int, int]] = {}
        for observation in OBSERVATIONS:
            said = [each for each in self._claims if each[0].observation == observation]
            for site in (WHOLE, *LEVELS):
                here = [each for each in said if site in (WHOLE, each[0].site)]
                state = precedence(claim.state for claim, _ in here)
                states.setdefault(observation, {})[site] = state
                first = next((span for claim, span in here if claim.state is state), None)
                if first is not None:
                    spans[observation, site] = first
        return GeneratedReport(self._text, states, spans, self.draft)
