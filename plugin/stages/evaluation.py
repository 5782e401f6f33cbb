"""Stage: analysis plans are frozen, test sets are opened under them, and every look is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlmodel import Session, col, select

from labeling.schema_file import schema_of
from labeling.vocabulary import LabelSchema
from plugin.context import Context, Progress
from plugin.errors import Permanent
from plugin.reporting import SOFTWARE_VERSION
from plugin.settings import Settings
from plugin.stages.evaluation_plan import check_model, plan_named, tested_studies
from plugin.stages.ground import ground_of
from plugin.stages.predict_members import predict_members
from plugin.stages.series_choices import choose_for_cohort
from training.errors import Permanent as TrainingPermanent
from training.evaluation.attributes import attributes_of
from training.evaluation.intact import intact_plan
from training.evaluation.models import EvaluationMember, EvaluationPlan, Opening
from training.evaluation.openings import looks_at, openings_by_plan, openings_of, openings_on
from training.evaluation.plan import PlannedModel, Said
from training.evaluation.subgroups import tellable
from training.evaluation.test_set import (
    Change,
    Item,
    changes,
    digest_of_test_set,
    in_words,
    read_test_set,
)
from training.membership import Ground
from training.models import Cohort, Model
from training.registry import find
from training.selection import SeriesRule
from training.series import analysed_images

Predict = Callable[[Context, Cohort, Model, Sequence[str], Progress], Said]
"""Has a model predict the studies of a cohort."""


def run_plan(
    context: Context, name: str, by: str, progress: Progress, predict: Predict = predict_members
) -> dict[str, Any]:
    """Open the test set of a plan: predict, record the opening, and compute what was planned.

    The opening is recorded before any figure exists, so that an evaluation that was interrupted
    counts too; one that ended while it predicted does not, for nothing was seen.

    Args:
        context: the open node.
        name: of the plan.
        by: who opens.
        progress: told one line at a time.
        predict: has a model predict.

    Returns:
        As :func:`show_plan`.

    Raises:
        Permanent: there is no such plan, it was altered in the database, a model may not be tested
            on it any more, or the test set changed since; the message says in what.
    """
    from training.evaluation.figures import check_levels, figures_of  # it loads torch

    if not by.strip():
        raise Permanent("opening a test set needs somebody who does it")
    with context.database.read() as session:
        row = plan_named(session, name)
        cohort = session.get_one(Cohort, row.cohort_id)
    choose_for_cohort(context, cohort, tested_studies(context, cohort))
    with context.database.read() as session:
        plan = intact_plan(session, row)
        models = {each.reference: _model(session, each) for each in plan.models}
        items = _unchanged(context.settings, session, row, cohort, models.values())
    studies = [each.study_instance_uid for each in items]
    said = {
        reference: predict(context, cohort, model, studies, progress)
        for reference, model in models.items()
    }
    check_levels(said)
    with context.database.write() as session:
        items = _unchanged(context.settings, session, row, cohort, models.values())
        shown = analysed_images(session, studies, SeriesRule.of_record(cohort.query))
        attributes = attributes_of(session, shown)
        opening = Opening(
            plan_id=row.id or 0,
            test_set_digest=digest_of_test_set(items),
            opened_by=by,
            opened_at=context.clock(),
            software=SOFTWARE_VERSION,
        )
        session.add(opening)
        session.flush()
        number = opening.id
    progress("the test set is open: computing what was planned")
    figures = figures_of(plan, items, said, attributes, progress)
    with context.database.write() as session:
        opening = session.get_one(Opening, number)
        opening.figures = figures
        session.add(opening)
    with context.database.read() as session:
        return show_plan(session, context.settings, name)


def show_plan(
    session: Session, settings: Settings, name: str, number: int | None = None
) -> dict[str, Any]:
    """Return a plan, its openings, and the figures of one of them.

    Args:
        session: any session.
        settings: of the node.
        name: of the plan, or the beginning of its digest.
        number: which opening's figures, from 1; None: the newest that was not interrupted.

    Returns:
        ``plan``, ``digest``, ``frozen_by``, ``frozen_at``, ``content``; ``test_set_now`` (what
        changed since, study by study); ``openings`` (a list: number, by, at, ``looks``); of one
        of these ``opening``, ``looks`` and ``figures``.

    Raises:
        Permanent: there is no such plan or opening, or the plan was altered.
    """
    row = plan_named(session, name)
    intact_plan(session, row)
    openings = openings_of(session, row.id or 0)
    looks = {each.id: looks_at(session, each) for each in openings}
    chosen = _chosen(openings, number)
    return {
        "plan": row.name,
        "digest": row.digest,
        "frozen_by": row.frozen_by,
        "frozen_at": row.frozen_at.isoformat(timespec="seconds"),
        "content": row.content,
        "test_set_now": _test_set_now(session, settings, row),
        "openings": [
            {
                "number": place,
                "by": each.opened_by,
                "at": each.opened_at.isoformat(timespec="seconds"),
                "finished": bool(each.figures),
                "software": each.software,
                "looks": looks[each.id].sentence,
            }
            for place, each in enumerate(openings, start=1)
        ],
        "opening": openings.index(chosen) + 1 if chosen else None,
        "looks": looks[chosen.id].record if chosen else {},
        "figures": _told(chosen.figures) if chosen else {},
    }


def list_plans(session: Session) -> dict[str, Any]:
    """Return every plan, the newest first, with how often its test set was opened."""
    counts = openings_by_plan(session)
    rows = session.exec(select(EvaluationPlan).order_by(col(EvaluationPlan.id).desc()))
    return {
        "plans": [
            {
                "plan": row.name,
                "digest": row.digest[:12],
                "models": [each["reference"] for each in row.content["models"]],
                "test_set": row.content["test_set"][:12],
                "studies": row.content["studies"],
                "primary": " ".join(row.content["primary"]),
                "frozen_by": row.frozen_by,
                "frozen_at": row.frozen_at.isoformat(timespec="seconds"),
                "openings": counts.get(row.id or 0, 0),
                "openings_of_its_studies": openings_on(session, row.id or 0),
            }
            for row in rows
        ]
    }


def _unchanged(
    settings: Settings,
    session: Session,
    row: EvaluationPlan,
    cohort: Cohort,
    models: Iterable[Model],
) -> list[Item]:
    """Return the test set of a plan.

    Raises:
        Permanent: it is not what was planned on, the message says what changed; or a model knows
            it, as two patients may have turned out to be one since.
    """
    ground, schema = ground_of(settings), schema_of(settings.labeling)
    items, found = _compared(session, ground, schema, row, cohort)
    if found:
        raise Permanent(
            f"the test set of plan {row.name!r} changed since it was frozen "
            f"({in_words(found)}); `radloop evaluation show {row.name}` lists the studies. "
            "It is not opened: freeze the cohort and a plan anew"
        )
    for model in models:
        check_model(session, ground, model, cohort, items)
    return items


def _compared(
    session: Session, ground: Ground, schema: LabelSchema, row: EvaluationPlan, cohort: Cohort
) -> tuple[list[Item], list[Change]]:
    items = read_test_set(session, ground, cohort, schema)
    query = select(EvaluationMember).where(EvaluationMember.plan_id == row.id)
    planned = list(session.exec(query))
    return items, changes(planned, row.content["studies"], items)


def _test_set_now(
    session: Session, settings: Settings, row: EvaluationPlan
) -> list[dict[str, str]]:
    cohort = session.get_one(Cohort, row.cohort_id)
    try:
        _, found = _compared(
            session, ground_of(settings), schema_of(settings.labeling), row, cohort
        )
    except TrainingPermanent as error:
        return [{"study_instance_uid": "", "what": str(error)}]
    return [{"study_instance_uid": each.study_instance_uid, "what": each.what} for each in found]


def _told(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return figures without those of few patients, which earlier versions stored."""
    models = [
        {**each, "subgroups": tellable(each["subgroups"])} for each in figures.get("models", ())
    ]
    return {**figures, "models": models} if figures else {}


def _chosen(openings: Sequence[Opening], number: int | None) -> Opening | None:
    if number is None:
        return next((each for each in reversed(openings) if each.figures), None)
    if not 1 <= number <= len(openings):
        raise Permanent(f"the plan has no opening {number}: it was opened {len(openings)} times")
    return openings[number - 1]


def _model(session: Session, planned: PlannedModel) -> Model:
    model = find(session, planned.reference)
    if model.weights_digest != planned.weights_digest:
        raise Permanent(f"{planned.reference} has other weights than those of the plan")
    return model
