"""Stage: a sample of reports or studies is drawn for human readers, after its size was computed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlmodel import Session

from dicom_node.studies import studies_with_images
from labeling.evaluation.sample_size import (
    Aim,
    Stratum,
    design_effect,
    finite,
    least,
    reports_needed,
    stratified_width,
    width_of,
)
from labeling.evaluation.sampling import (
    Candidate,
    Drawn,
    allocated,
    candidates,
    draw,
    sizes_of,
    stratified,
)
from labeling.models import LabelingRun, ReferenceSample
from labeling.reference_samples import store_sample
from labeling.standing import newest_run
from labeling.vocabulary import WHOLE, LabelSchema
from plugin.context import Context
from plugin.errors import Permanent
from plugin.settings import Settings
from plugin.stages.frame import Frame, FrameQuery, frame_of
from plugin.stages.ground import ground_of
from plugin.stages.series_choices import choose_series
from training.images.rule_file import load_rule
from training.series import series_rule
from training.settings import PredictionRule

RANDOM, STRATIFIED = "random", "stratified"


@dataclass(frozen=True)
class Draft:
    """A draw to be made.

    Args:
        level: "report", "image", or "file" with ``file``.
        design: ``RANDOM`` or ``STRATIFIED`` by what the labeler says.
        labeler: whose labels make strata and, without ``prevalence``, the expected prevalence.
        observations: to be read; empty: all of the schema.
        sites: whether the single sites are read, too.
        aim: for the size; its prevalence counts only where ``prevalence`` is given.
        prevalence: share of subjects with the rarest observation; 0: as the labeler says.
        n: size; 0: it is computed.
        readers: who read each subject; 1: one reader suffices, which the record says.
        enriched: share of the sample that goes to strata with findings.
    """

    level: str = "report"
    design: str = RANDOM
    labeler: str = ""
    observations: tuple[str, ...] = ()
    sites: bool = True
    aim: Aim = field(default_factory=Aim)
    prevalence: float = 0.0
    n: int = 0
    readers: int = 2
    enriched: float = 0.5
    seed: int = 1
    one_per_patient: bool = True
    include_read: bool = False
    include_trained: bool = False
    without_report: bool = False
    file: Path | None = None
    encoding: str = "utf-8-sig"
    by: str = ""
    dry_run: bool = False


def draft_of(arguments: Mapping[str, Any]) -> Draft:
    """Return what a command asks for."""
    given = dict(arguments)
    aim, file = Aim(**given.pop("aim")), given.pop("file")
    observations = tuple(given.pop("observations"))
    return Draft(**given, aim=aim, observations=observations, file=Path(file) if file else None)


def draw_sample(context: Context, draft: Draft) -> dict[str, Any]:
    """Draw a sample and store it: who was drawn, of how many, with which probability.

    Args:
        context: the open node.
        draft: what is to be drawn.

    Returns:
        ``sample`` (the beginning of its digest; empty for a dry run), ``n``, ``frame``,
        ``left_out`` (by reason), ``strata``, ``planning`` and ``observations``.

    Raises:
        Permanent: nothing can be drawn so, and why.
    """
    schema = context.schema()
    observations = _observations(schema, draft)
    _choose(context, draft)
    with context.database.write() as session:
        run = _run(session, schema, draft)
        query = _frame_query(context.settings, schema, draft, run)
        frame = frame_of(session, query, ground_of(context.settings).name_of)
        given = candidates(frame.units, draft.seed, one_per_patient=draft.one_per_patient)
        if not given:
            why = ", ".join(f"{count} {reason}" for reason, count in frame.left_out.most_common())
            raise Permanent(f"nothing can be drawn: {why or 'the node holds nothing'}")
        if draft.design == STRATIFIED:
            given = stratified(given, observations)
        planning = planned(given, observations, draft)
        sizes = sizes_of(given)
        allocation = allocated(sizes, planning["n"], draft.enriched)
        drawn = draw(given, allocation, draft.seed)
        sample = _record(draft, frame, query, given, planning, drawn, context.clock())
        sample.places = [list(place) for place in places_of(schema, observations, draft.sites)]
        sample.strata = [
            {"stratum": name, "size": sizes[name], "drawn": allocation[name]} for name in sizes
        ]
        if not draft.dry_run:
            store_sample(session, sample, drawn)
    return {
        "sample": (sample.digest or "")[:12],
        "level": draft.level,
        "design": draft.design,
        "n": len(drawn),
        "frame": sample.frame_size,
        "readers": draft.readers,
        "observations": list(observations),
        "planning": planning,
        "strata": sample.strata,
        "left_out": dict(frame.left_out),
    }


def planned(
    given: Sequence[Candidate], observations: Sequence[str], draft: Draft
) -> dict[str, Any]:
    """Return how many are drawn, and every number from which that follows.

    Raises:
        Permanent: nobody says how rare the finding is, or the numbers make no sense.
    """
    frame = len(given)
    rarest, said = _rarest(given, observations)
    prevalence = draft.prevalence or said
    if not prevalence and draft.n:
        return {"n": min(draft.n, frame), "n_given": draft.n}
    if not prevalence:
        raise Permanent(
            "how rare is the rarest finding? --prevalence says it, or --labeler whose labels do; "
            "or --n says how many to draw"
        )
    aim = replace(draft.aim, prevalence=prevalence)
    found: dict[str, Any] = {
        **asdict(aim),
        "planned_for": rarest,
        "prevalence_from": "given" if draft.prevalence else f"labels of {draft.labeler}",
    }
    try:
        endless = reports_needed(aim)
        found |= {"n_of_an_endless_frame": endless, "n_of_this_frame": finite(endless, frame)}
        n = draft.n or found["n_of_this_frame"]
        if draft.design == STRATIFIED:
            n = draft.n or _stratified_n(given, rarest, aim, draft)
            found["n_stratified"] = n
    except ValueError as error:
        raise Permanent(str(error)) from error
    n = min(n, frame)
    return {**found, "n": n, **_expected(given, rarest, aim, draft, n)}


def _stratified_n(given: Sequence[Candidate], rarest: str, aim: Aim, draft: Draft) -> int:
    strata, sizes = _strata(given, rarest), sizes_of(given)

    def enough(n: int) -> bool:
        return stratified_width(aim, strata, allocated(sizes, n, draft.enriched)) <= aim.width

    return least(enough, len(given)) if enough(len(given)) else len(given)


def _expected(
    given: Sequence[Candidate], rarest: str, aim: Aim, draft: Draft, n: int
) -> dict[str, Any]:
    """Return the width that so many can be expected to give, and what the sample is worth."""
    if draft.design == RANDOM:
        positives = n * aim.prevalence
        width = width_of(aim, positives, n - positives)
        return {"expected_width": round(width, 4), "expected_positives": round(positives, 1)}
    allocation = allocated(sizes_of(given), n, draft.enriched)
    strata = _strata(given, rarest)
    weights = [
        strata[name].size / count for name, count in allocation.items() for _ in range(count)
    ]
    return {
        "expected_width": round(stratified_width(aim, strata, allocation), 4),
        "design_effect": round(design_effect(weights), 3),
    }


def _strata(given: Sequence[Candidate], observation: str) -> dict[str, Stratum]:
    found: dict[str, Stratum] = {}
    for each in given:
        before = found.get(each.stratum, Stratum(0, 0))
        said = before.said + (observation in each.unit.said)
        found[each.stratum] = Stratum(before.size + 1, said)
    return found


def _rarest(given: Sequence[Candidate], observations: Sequence[str]) -> tuple[str, float]:
    """Return the observation that a labeler says of fewest, of those it says at all; its share."""
    counts = {name: sum(name in each.unit.said for each in given) for name in observations}
    known = {name: count for name, count in counts.items() if count}
    if not known:
        return (observations[0] if len(observations) == 1 else ""), 0.0
    name = min(known, key=lambda each: (known[each], each))
    return name, min(known[name] / len(given), 0.99)


def places_of(
    schema: LabelSchema, observations: Sequence[str], sites: bool
) -> list[tuple[str, str]]:
    """Return what readers are asked: observations in the whole, and at their sites."""
    return [
        (each.id, site)
        for each in schema.observations
        if each.id in observations
        for site in (WHOLE, *(each.sites if sites else ()))
    ]


def _choose(context: Context, draft: Draft) -> None:
    """Let the series rule of the first prediction section look at studies that may be drawn."""
    rule = next(iter(context.settings.prediction), None)
    if draft.level != "image" or rule is None or not rule.series_rule:
        return
    with context.database.read() as session:
        studies = studies_with_images(session)
    choose_series(context, load_rule(rule.series_rule), studies, lambda _: None)


def _observations(schema: LabelSchema, draft: Draft) -> tuple[str, ...]:
    known = tuple(each.id for each in schema.observations)
    if strangers := set(draft.observations) - set(known):
        raise Permanent(
            f"not in schema {schema.name!r}: {', '.join(sorted(strangers))}; it has "
            f"{', '.join(known)}"
        )
    return tuple(each for each in known if not draft.observations or each in draft.observations)


def _run(session: Session, schema: LabelSchema, draft: Draft) -> LabelingRun | None:
    if draft.design == STRATIFIED and (draft.file or not draft.labeler):
        raise Permanent("strata are made of a labeler's labels: --labeler, of the node's reports")
    if not draft.labeler:
        return None
    run = newest_run(session, draft.labeler, schema.digest)
    if run is None:
        raise Permanent(
            f"labeler {draft.labeler!r} has read nothing by schema {schema.name!r}: "
            f"radloop label --labeler {draft.labeler} first"
        )
    return run


def _frame_query(
    settings: Settings, schema: LabelSchema, draft: Draft, run: LabelingRun | None
) -> FrameQuery:
    rules = settings.prediction
    rule = rules[0] if rules else PredictionRule(model="", modality=schema.modality, body_part="")
    return FrameQuery(
        level=draft.level,
        file=draft.file,
        encoding=draft.encoding,
        include_read=draft.include_read,
        include_trained=draft.include_trained,
        without_report=draft.without_report,
        images=series_rule(rule, schema.body_parts) if draft.level == "image" else None,
        run=run,
    )


def _record(
    draft: Draft,
    frame: Frame,
    query: FrameQuery,
    given: Sequence[Candidate],
    planning: Mapping[str, Any],
    drawn: Sequence[Drawn],
    now: dt.datetime,
) -> ReferenceSample:
    run = query.run
    content = {
        "left_out": dict(frame.left_out),
        "subjects": len(frame.units),
        "one_per_patient": draft.one_per_patient,
        "include_read": draft.include_read,
        "include_trained": draft.include_trained,
        "without_report": draft.without_report,
        "strata_by": "" if run is None else f"{run.labeler}, run {run.id}",
        "enriched": draft.enriched if draft.design == STRATIFIED else 0.0,
    }
    return ReferenceSample(
        digest="",
        level=draft.level,
        design=draft.design,
        seed=draft.seed,
        frame_size=len(given),
        frame=content,
        n=len(drawn),
        readers=draft.readers,
        planning=dict(planning),
        drawn_by=draft.by,
        drawn_at=now,
    )
