"""From one entry of a filled form to the results of its observation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from labeling.labeler import LabelResult, Span
from labeling.llm.interface import BOUND_NOTE, Generated, Step
from labeling.places import without_contradictions
from labeling.rules.levels import LevelFinder
from labeling.template.answer import Finding, Member, Stated, read_finding
from labeling.template.form import STATES
from labeling.template.odds import Odds, Renderings, log_odds, log_sum, odds_at
from labeling.vocabulary import WHOLE, LabelSchema, Observation, State

_NO_SENTENCE = "said without a sentence"
_DENIED = "denied for the whole examination"

_LISTS: Renderings = {"some": tuple(f"[{digit}" for digit in "123456789"), "none": ("[]",)}
_VALUES: Renderings = {
    str(state): (str(value).lower() if isinstance(value, bool) else f'"{value}"',)
    for value, state in STATES
}
_SPOKEN: Renderings = {
    name: texts for name, texts in _VALUES.items() if name != str(State.NOT_MENTIONED)
}
_HALF = math.log(0.5)


def results_of(
    schema: LabelSchema,
    observation: Observation,
    answer: Generated,
    entries: Mapping[str, Member],
    text: str,
    sentences: Sequence[Span],
    finder: LevelFinder,
) -> list[LabelResult]:
    """Return the results of an observation, whole and at each of its sites.

    Args:
        schema: of the observation.
        observation: whose results are wanted.
        answer: what was generated, with its steps.
        entries: the members of the generated object.
        text: the stored report.
        sentences: the numbered sentences, as ranges of ``text``.
        finder: of the schema's sites in a sentence.
    """
    finding = read_finding(answer.text, entries, observation, len(sentences))
    spans = tuple(sentences[index] for index in finding.sentences)
    steps = answer.steps if "".join(s.text for s in answer.steps) == answer.text else ()
    quoted = " ".join(text[start:end] for start, end in spans)
    places = without_contradictions(schema, finding.locations, quoted)
    whole = _whole(observation, finding, places, spans, steps)
    named = {
        span: frozenset(site for m in finder.find(text[span[0] : span[1]]) for site in m.sites)
        for span in spans
    }
    return [
        whole,
        *(_site(observation, site, finding, whole, named, steps) for site in observation.sites),
    ]


def _whole(
    observation: Observation,
    finding: Finding,
    places: tuple[str, ...],
    spans: tuple[Span, ...],
    steps: Sequence[Step],
) -> LabelResult:
    state, notes = finding.whole.state, [finding.whole.reason]
    if state is State.FAILED:
        return LabelResult(observation.id, WHOLE, state, detail=finding.whole.reason)
    if not spans and state is State.ABSENT:
        # Nothing in the report says so: absent trains, not mentioned does not.
        state, notes = State.NOT_MENTIONED, [_NO_SENTENCE]
    listed = odds_at(steps, finding.list_start, _LISTS) if finding.list_start >= 0 else None
    stated = odds_at(steps, finding.whole.start, _SPOKEN) if spans else None
    if any(odds is not None and odds.bounded for odds in (listed, stated)):
        notes.append(BOUND_NOTE)
    return LabelResult(
        observation.id,
        WHOLE,
        state,
        margin=_whole_margin(listed, stated, bool(spans)),
        mention_margin=None if listed is None else log_odds(listed.of["some"], listed.of["none"]),
        evidence=spans if state is not State.NOT_MENTIONED else (),
        severity=finding.severity if state in {State.PRESENT, State.UNCERTAIN} else "",
        locations=places,
        detail="; ".join(note for note in notes if note),
    )


def _whole_margin(listed: Odds | None, stated: Odds | None, said: bool) -> float | None:
    """Return log-odds of present: of sentences at all, times of present among what they say."""
    if listed is None or (said and stated is None):
        return None
    # Where nothing was listed, nobody asked what it would say: half for either side.
    present, other = _sides(stated) if stated is not None else (_HALF, _HALF)
    some, none = listed.of["some"], listed.of["none"]
    return log_odds(some + present, log_sum(none, some + other))


def _sides(odds: Odds) -> tuple[float, float]:
    """Return log-probabilities of present and of the rest; "uncertain" is half on each side."""
    half = odds.of[str(State.UNCERTAIN)] + _HALF
    present = str(State.PRESENT)
    others = [log for name, log in odds.of.items() if name not in {present, State.UNCERTAIN}]
    return log_sum(odds.of[present], half), log_sum(half, *others)


def _site(
    observation: Observation,
    site: str,
    finding: Finding,
    whole: LabelResult,
    named: Mapping[Span, frozenset[str]],
    steps: Sequence[Step],
) -> LabelResult:
    if site not in finding.sites:
        return _below_whole(observation, site, whole, named)
    stated: Stated = finding.sites[site]
    if stated.state is State.FAILED:
        return LabelResult(observation.id, site, State.FAILED, detail=stated.reason)
    odds = odds_at(steps, stated.start, _VALUES)
    margin = None if odds is None else log_odds(*_sides(odds))
    silent = stated.state is State.NOT_MENTIONED
    # Those that name the site first; the others may speak of it by what stands before them.
    spans = sorted(whole.evidence, key=lambda span: site not in named[span])
    return LabelResult(
        observation.id,
        site,
        stated.state,
        margin=margin,
        evidence=() if silent else tuple(spans),
        detail=BOUND_NOTE if odds is not None and odds.bounded else "",
    )


def _below_whole(
    observation: Observation,
    site: str,
    whole: LabelResult,
    named: Mapping[Span, frozenset[str]],
) -> LabelResult:
    """Return what a whole that is not there says of a site.

    Denied in words that name no site, it is denied at each; denied at some, at those only.
    """
    if whole.state is not State.ABSENT:
        reason = whole.detail if whole.state is State.FAILED else ""
        return LabelResult(observation.id, site, whole.state, margin=whole.margin, detail=reason)
    carrying = tuple(s for s in whole.evidence if not named[s] or site in named[s])
    return LabelResult(
        observation.id,
        site,
        State.ABSENT if carrying else State.NOT_MENTIONED,
        margin=whole.margin,
        evidence=carrying,
        detail=_DENIED if carrying else "",
    )
