"""From what a labeler measured to the state that is stored: one pure function for all labelers.

Labelers give margins; thresholds, evidence, parents and levels decide. So a new calibration needs
no second reading of a report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from labeling.labeler import LabelResult, is_unasked
from labeling.thresholds import Thresholds
from labeling.vocabulary import WHOLE, LabelSchema, State

UNCALIBRATED_NOTE = "uncalibrated"
NO_SPAN = "no span of the report carries it"
_OTHERWISE = "the report as a whole says otherwise"
_EVERYWHERE = frozenset({State.ABSENT, State.STABLE_UNKNOWN})
IMPLIED = "implied by "
"""Begins the note of a label that stands only because a child of it is present."""


def decide(
    results: Sequence[LabelResult], schema: LabelSchema, thresholds: Thresholds
) -> list[LabelResult]:
    """Return the results with the states and probabilities that the thresholds give them.

    * a margin above the band is present, inside it uncertain; below it the mention margin tells
      absent from not mentioned (without one, the labeler's own word does); where no threshold was
      fitted the labeler's own state stands, and the label says so;
    * a present label without evidence is uncertain: no span, no ``present``;
    * a site cannot be present where the whole report is not: it is uncertain there;
    * a site that nobody asked about, as the report does not name it, is denied with the whole;
    * where a child is present, its parents are, with the child's evidence.

    A failed label, and one of a labeler that gives no margin, keeps its state.
    """
    decided = {
        (each.observation, each.site): _with_evidence(_decided(each, thresholds))
        for each in results
    }
    _deny_unasked(decided)
    _lower_sites(decided)
    _raise_parents(decided, schema)
    # A child that is present at a site and doubted as a whole raises a parent at the site alone.
    _lower_sites(decided)
    return list(decided.values())


def redecide(
    results: Sequence[LabelResult],
    schema: LabelSchema,
    thresholds: Thresholds,
    before: Thresholds,
) -> list[LabelResult] | None:
    """Return what ``decide`` says of stored results under other thresholds.

    Args:
        results: as they are stored.
        schema: that they were made with.
        thresholds: that hold now.
        before: that held when the report was read: they told where to look for evidence.

    Returns:
        None where the report has to be read again: a label may count now, and nobody looked for
        the words that carry it while its margin lay too low.
    """
    bare = {(each.observation, each.site): measured(each) for each in results}
    for key, each in bare.items():
        if each.evidence or each.state is State.FAILED:
            continue
        if _counts(bare, key, thresholds) and not _counts(bare, key, before):
            return None
    return decide(list(bare.values()), schema, thresholds)


def _counts(
    bare: Mapping[tuple[str, str], LabelResult], key: tuple[str, str], thresholds: Thresholds
) -> bool:
    """Tell whether evidence is looked for: the label and that of the whole may count."""
    places = (key, (key[0], WHOLE))
    margins = {place: bare[place].margin for place in places if place in bare}
    return all(
        margin is None or margin >= thresholds.of(*place).low for place, margin in margins.items()
    )


def is_implied(result: LabelResult) -> bool:
    """Return whether a decided label is present only because a child of it is."""
    return any(note.startswith(IMPLIED) for note in result.detail.split("; "))


def measured(result: LabelResult) -> LabelResult:
    """Return a decided result without what the decision added to it."""
    notes = result.detail.split("; ") if result.detail else []
    ours = {UNCALIBRATED_NOTE, NO_SPAN, _OTHERWISE}
    kept = [note for note in notes if note not in ours and not note.startswith(IMPLIED)]
    # A file of labels does not tell what a site was before the whole denied it.
    own = State.NOT_MENTIONED if is_unasked(result) else result.own_state or result.state
    return replace(
        result,
        state=own,
        own_state=None,
        probability=None,
        evidence=() if is_implied(result) or is_unasked(result) else result.evidence,
        detail="; ".join(kept),
    )


def _decided(result: LabelResult, thresholds: Thresholds) -> LabelResult:
    result = replace(result, own_state=result.state)
    if result.margin is None or result.state is State.FAILED:
        return result
    threshold = thresholds.of(result.observation, result.site)
    if not threshold.fitted_on:
        return replace(result, detail=_noted(result.detail, UNCALIBRATED_NOTE))
    state = threshold.decide(result.margin)
    if state is State.ABSENT:
        state = _denied_or_silent(result, threshold.mention_cut)
    return replace(result, state=state, probability=threshold.probability(result.margin))


def _denied_or_silent(result: LabelResult, mention_cut: float) -> State:
    if result.mention_margin is not None:
        return State.ABSENT if result.mention_margin >= mention_cut else State.NOT_MENTIONED
    kept = {State.ABSENT, State.NOT_MENTIONED, State.STABLE_UNKNOWN}
    # Silence is the careful reading where nobody asked: absent trains, not mentioned does not.
    return result.state if result.state in kept else State.NOT_MENTIONED


def _with_evidence(result: LabelResult) -> LabelResult:
    if result.state is not State.PRESENT or result.evidence:
        return result
    return replace(result, state=State.UNCERTAIN, detail=_noted(result.detail, NO_SPAN))


def _deny_unasked(decided: dict[tuple[str, str], LabelResult]) -> None:
    """Let "no stenosis" hold at every site: a denial without a site does."""
    for key, each in decided.items():
        whole = decided.get((each.observation, WHOLE))
        if whole is not None and is_unasked(each) and whole.state in _EVERYWHERE:
            decided[key] = replace(each, state=whole.state, evidence=whole.evidence)


def _lower_sites(decided: dict[tuple[str, str], LabelResult]) -> None:
    for key, each in decided.items():
        whole = decided.get((each.observation, WHOLE))
        if each.site != WHOLE and whole is not None:
            decided[key] = _below(each, whole)


def _below(site: LabelResult, whole: LabelResult) -> LabelResult:
    if site.state is not State.PRESENT or whole.state in {State.PRESENT, State.UNCERTAIN}:
        return site
    return replace(site, state=State.UNCERTAIN, detail=_noted(site.detail, _OTHERWISE))


def _raise_parents(decided: dict[tuple[str, str], LabelResult], schema: LabelSchema) -> None:
    """Let each present child make its parents present, up to the roots."""
    for observation in schema.observations:
        waiting = [(observation.id, parent) for parent in observation.parents]
        seen: set[str] = set()
        while waiting:
            child, parent = waiting.pop()
            if parent in seen:
                continue
            seen.add(parent)
            _raise(decided, child, parent)
            waiting += [(parent, above) for above in schema.observation(parent).parents]


def _raise(decided: dict[tuple[str, str], LabelResult], child: str, parent: str) -> None:
    for (name, site), given in list(decided.items()):
        above = decided.get((parent, site))
        if name != child or given.state is not State.PRESENT or above is None:
            continue
        if above.state not in {State.PRESENT, State.FAILED}:
            decided[parent, site] = replace(
                above,
                state=State.PRESENT,
                evidence=given.evidence,
                detail=_noted(above.detail, f"{IMPLIED}{child}"),
            )


def _noted(detail: str, note: str) -> str:
    return "; ".join(part for part in (detail, note) if part)
