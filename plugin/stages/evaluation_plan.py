"""Stage: an analysis plan is frozen before the test set that it speaks of is opened."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sqlmodel import Session, select

from labeling.vocabulary import LabelSchema
from plugin.context import Context
from plugin.errors import Permanent
from plugin.names import check_name
from plugin.stages.cohort import newest_cohort
from plugin.stages.ground import ground_of
from plugin.stages.series_choices import choose_for_cohort
from training.cohort import members_of
from training.evaluation.attributes import SUBGROUPS
from training.evaluation.independence import (
    cohorts_behind,
    patients_that_trained,
    studies_beyond,
)
from training.evaluation.models import EvaluationMember, EvaluationPlan
from training.evaluation.openings import openings_on
from training.evaluation.plan import Plan, PlannedModel
from training.evaluation.test_set import (
    Item,
    digest_of_test_set,
    in_words,
    not_as_frozen,
    read_test_set,
)
from training.membership import Ground
from training.models import Cohort, Model
from training.registry import find


def freeze_plan(context: Context, name: str, asked: Mapping[str, Any], by: str) -> dict[str, Any]:
    """Freeze an analysis plan on the test fold of the newest cohort of a name.

    The same plan frozen twice is one plan. Nothing is predicted and no figure is computed.

    Args:
        context: the open node.
        name: of the plan.
        asked: ``cohort``, ``models`` (NAME or NAME:VERSION, one or two), ``observations`` (empty:
            all that the models learned and readers labelled), ``primary`` (OBSERVATION:FIGURE, or
            empty for AUROC of the only observation), ``subgroups``, ``seed``, ``samples``.
        by: who freezes it.

    Returns:
        ``plan``, ``digest``, ``test_set``, ``studies``, ``patients``, ``observations``,
        ``primary``, ``openings_of_its_studies`` (before, under any plan); ``note`` where the same
        plan was frozen before, under the name that is ``plan``.

    Raises:
        Permanent: a name is unknown or taken, a model may not be tested here (:func:`check_model`),
            or the test set is not what the cohort was frozen with.
    """
    _check_name(name, by)
    settings = context.settings
    with context.database.read() as session:
        cohort = newest_cohort(session, asked["cohort"])
    choose_for_cohort(context, cohort, tested_studies(context, cohort))
    with context.database.write() as session:
        schema = context.schema()
        items = read_test_set(session, ground_of(settings), cohort, schema)
        if found := not_as_frozen(session, cohort, items):
            raise Permanent(
                f"the test fold of cohort {cohort.name!r} is not what was frozen "
                f"({in_words(found)}): freeze it again"
            )
        models = [find(session, each) for each in asked["models"]]
        for model in models:
            check_model(session, ground_of(settings), model, cohort, items)
        plan = _plan(asked, cohort, schema, items, models)
        row, is_new = _stored(context, session, name, plan, cohort, items, by)
        opened = openings_on(session, row.id or 0)
    return {
        "plan": row.name,
        "digest": row.digest,
        "cohort": cohort.digest,
        "test_set": plan.test_set,
        "studies": plan.studies,
        "patients": plan.patients,
        "models": [each.reference for each in plan.models],
        "observations": list(plan.observations),
        "primary": " ".join(plan.primary),
        "frozen_by": row.frozen_by,
        "frozen_at": row.frozen_at.isoformat(timespec="seconds"),
        "openings_of_its_studies": opened,
        **({} if is_new else {"note": _known_already(row, name)}),
    }


_LIKE_A_DIGEST = re.compile(r"[0-9a-f]{8,64}")


def _check_name(name: str, by: str) -> None:
    """Refuse a name that people cannot see whole in a list, or that could be a plan's digest."""
    if not by.strip():
        raise Permanent("a plan needs somebody who freezes it")
    check_name("a plan", name)
    if _LIKE_A_DIGEST.fullmatch(name):
        raise Permanent("a plan's name does not look like a digest: plans are found by theirs, too")


def _known_already(row: EvaluationPlan, name: str) -> str:
    was = f"this plan was frozen before, by {row.frozen_by}, as {row.name!r}"
    return was if row.name == name else f"{was}; there is no plan {name!r}"


def plan_named(session: Session, name: str) -> EvaluationPlan:
    """Return the plan of a name, or whose digest begins so.

    Raises:
        Permanent: there is none.
    """
    rows = list(session.exec(select(EvaluationPlan)))
    found = [row for row in rows if row.name == name]
    if not found and len(name) >= _SHORTEST_DIGEST:
        found = [row for row in rows if row.digest.startswith(name)]
    if len(found) != 1:
        raise Permanent(f"there is no plan {name!r}: see `radloop evaluation list`")
    return found[0]


_SHORTEST_DIGEST = 8


def _plan(
    asked: Mapping[str, Any],
    cohort: Cohort,
    schema: LabelSchema,
    items: Sequence[Item],
    models: Sequence[Model],
) -> Plan:
    observations = tuple(asked["observations"]) or _observations(schema, items, models)
    unknown = set(observations) - {each.id for each in schema.observations}
    if unknown:
        raise Permanent(f"the schema has no observation {', '.join(sorted(unknown))}")
    return Plan(
        cohort=cohort.digest,
        schema=cohort.schema_digest,
        test_set=digest_of_test_set(items),
        studies=len(items),
        patients=len({each.patient_key for each in items}),
        models=tuple(
            PlannedModel(each.reference, each.weights_digest, dict(each.operating_points))
            for each in models
        ),
        observations=observations,
        primary=_primary(asked["primary"], observations),
        subgroups=tuple(asked["subgroups"]) or SUBGROUPS,
        samples=asked["samples"],
        seed=asked["seed"],
        accepted=tuple(sorted(cohort.query.get("accepted", ()))),
        split=cohort.query.get("split", {}),
    )


def _observations(
    schema: LabelSchema, items: Sequence[Item], models: Sequence[Model]
) -> tuple[str, ...]:
    """Return what all models learned and a reader has labelled, in the order of the schema."""
    labelled = {
        name
        for item in items
        for name, sites in item.targets.items()
        if any(value is not None for value in sites.values())
    }
    learned = set.intersection(*(set(each.operating_points) for each in models))
    return tuple(each.id for each in schema.observations if each.id in labelled & learned)


def _primary(asked: str, observations: Sequence[str]) -> tuple[str, str]:
    if not asked:
        if len(observations) != 1:
            raise Permanent(
                "name the primary figure, OBSERVATION:FIGURE, of one of "
                f"{', '.join(observations) or 'no observation'}"
            )
        return observations[0], "auroc"
    observation, _, figure = asked.partition(":")
    return observation, figure or "auroc"


def check_model(
    session: Session, ground: Ground, model: Model, cohort: Cohort, items: Sequence[Item]
) -> None:
    """Check that a model speaks the cohort's schema and does not know its test set.

    Raises:
        Permanent: another schema; it, or a model whose weights it began with, learned from a
            patient of the test set; or from studies on the test side of the cohort's split.
    """
    if model.schema_digest != cohort.schema_digest:
        raise Permanent(f"{model.reference} learned another version of the label schema")
    behind = cohorts_behind(session, model)
    if known := patients_that_trained(session, ground, behind, items):
        raise Permanent(
            f"{model.reference} learned from {known} patients of this test set: nothing is "
            "tested on them"
        )
    beyond, unplaced = studies_beyond(session, cohort.query.get("split", {}), behind)
    if beyond or unplaced:
        raise Permanent(
            f"{model.reference} learned from {beyond} studies on the test side of the cohort's "
            f"split, and from {unplaced} of which nobody can say on which side they are: train on "
            "a cohort with the same split"
        )


def _stored(
    context: Context,
    session: Session,
    name: str,
    plan: Plan,
    cohort: Cohort,
    items: Sequence[Item],
    by: str,
) -> tuple[EvaluationPlan, bool]:
    """Return the row of a plan, and whether it is new."""
    named = session.exec(select(EvaluationPlan).where(EvaluationPlan.name == name)).first()
    known = session.exec(select(EvaluationPlan).where(EvaluationPlan.digest == plan.digest)).first()
    if known is not None:
        return known, False
    if named is not None:
        raise Permanent(f"there is another plan {name!r}; a plan is never changed")
    row = EvaluationPlan(
        digest=plan.digest,
        name=name,
        cohort_id=cohort.id or 0,
        content=plan.record,
        frozen_by=by,
        frozen_at=context.clock(),
    )
    session.add(row)
    session.flush()
    session.add_all(
        EvaluationMember(
            plan_id=row.id or 0,
            study_instance_uid=each.study_instance_uid,
            patient_key=each.patient_key,
            labels_sha256=each.labels_sha256,
            images_digest=each.images_digest,
        )
        for each in items
    )
    session.flush()
    return row, True


def tested_studies(context: Context, cohort: Cohort) -> list[str]:
    """Return the studies of the test fold of a cohort."""
    with context.database.read() as session:
        return [
            each.study_instance_uid for each in members_of(session, cohort) if each.fold == "test"
        ]
