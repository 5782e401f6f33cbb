"""Stage: labels and links become a frozen cohort, with a manifest on disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlmodel import Session, col, select

from dicom_node.durable import write_durably
from dicom_node.studies import complete_studies
from labeling import standing
from labeling.models import LabelingRun, Qualification
from labeling.standing import (
    calibration_of,
    configuration_of,
    qualification_of,
    thresholds_with,
)
from labeling.thresholds import conditions
from labeling.vocabulary import LabelSchema
from plugin.cohort_request import CohortRequest, query_of
from plugin.context import Context, Progress
from plugin.errors import Permanent
from plugin.source_digest import code_identity
from plugin.stages.cohort_pictures import look_at_members
from plugin.stages.cohort_summary import matches_nothing, summarise
from plugin.stages.complete import Completeness
from plugin.stages.ground import ground_of
from training.cohort import freeze, manifest
from training.models import Cohort
from training.query import CohortQuery
from training.settings import PredictionRule

SHORTCOMINGS = ("uncalibrated", "unqualified")
"""What a person can accept of a labeler whose labels enter a cohort; it is written into it."""


_REMEDY = {
    "uncalibrated": "`radloop labeler calibrate` on reference labels and `radloop label` first",
    "unqualified": "`radloop labeler qualify` on reference labels first",
}


def freeze_cohort(
    context: Context,
    name: str,
    labeler: str,
    accepted: Sequence[str] = (),
    request: CohortRequest | None = None,
    progress: Progress = lambda _: None,
) -> dict[str, Any]:
    """Freeze the studies that the labeler's newest run has labels for.

    Labels count as calibrated where a threshold was fitted for every observation that the cohort
    takes, and for its sites where it has some; one that is missing is a shortcoming, by name.

    Where the request does not say otherwise, the image rule is that of the first [[prediction]]
    section, so that a model is trained on what it will see; without one, the schema's modality and
    body parts decide.

    The members' images are looked at before the freeze, outside of any transaction: the node goes
    on meanwhile.

    Args:
        context: the open node.
        name: what people call the cohort.
        labeler: whose newest run labels it.
        accepted: shortcomings of the labeler that may be (``SHORTCOMINGS``).
        request: what the cohort is asked for; None: what the settings say.
        progress: told how many images were looked at.

    Returns:
        The cohort's digest, members by fold, exclusions by reason, what of the request
        ``matches_nothing``, and the manifest's path.

    Raises:
        Permanent: the labeler has not read any report yet, or is not calibrated or not qualified
            and nobody accepted that; or the request cannot be met.
        training.leaks.LeakFound: a person or a picture may be on two sides.
    """
    request = request or CohortRequest()
    Completeness(context).sweep()
    ground = ground_of(context.settings)
    look_at_members(
        context,
        lambda session: _query(context, session, name, labeler, accepted, request),
        progress,
    )
    with context.database.write() as session:
        query = _query(context, session, name, labeler, accepted, request)
        cohort = freeze(
            session,
            query,
            context.settings.training,
            context.clock,
            ground.salt,
            complete_studies(session),
            ground.name_of,
            code_identity(),
        )
        record = manifest(session, cohort)
        summary = summarise(session, cohort, ground)
        nothing = matches_nothing(session, query, cohort, ground, request.body_parts or ())
        # In the transaction: an erasure that follows finds the file.
        path = context.folder.cohorts / f"{cohort.digest}.json"
        write_durably(path, json.dumps(record, indent=1).encode())
    return {**summary, "matches_nothing": nothing, "manifest": str(_relative(path, context))}


def _query(
    context: Context,
    session: Session,
    name: str,
    labeler: str,
    accepted: Sequence[str],
    request: CohortRequest,
) -> CohortQuery:
    schema = context.schema()
    rules = context.settings.prediction
    rule = rules[0] if rules else PredictionRule(model="", modality=schema.modality, body_part="")
    run_id = newest_run(session, request.labeler or labeler, schema)
    found = _accepted(session, run_id, schema, accepted)
    return query_of(
        request,
        name,
        schema,
        run_id,
        accepted=found.shortcomings,
        uncalibrated=found.uncalibrated,
        unjudged=found.unjudged,
        modality=rule.modality,
        body_parts=(rule.body_part,) if rule.body_part else schema.body_parts,
        series_description=rule.series_description,
        device_names=(context.settings.reporting.device_name,),
    )


@dataclass(frozen=True)
class _Accepted:
    """What is wrong with a run's labels and was accepted; what has no threshold or no figures."""

    shortcomings: tuple[str, ...]
    uncalibrated: tuple[str, ...]
    unjudged: tuple[str, ...]


def _accepted(
    session: Session, run_id: int, schema: LabelSchema, accepted: Sequence[str]
) -> _Accepted:
    """Return the shortcomings that the run has, all of which were accepted.

    Raises:
        Permanent: it has one that was not, or a newer calibration holds.
    """
    run = session.get_one(LabelingRun, run_id)
    holds = calibration_of(session, configuration_of(run))
    if holds is not None and run.calibration_digest not in {"", holds.digest}:
        raise Permanent(
            f"the labels of {run.labeler!r} were decided by an earlier calibration: "
            f"`radloop label --labeler {run.labeler}` first"
        )
    verdict = qualification_of(session, configuration_of(run), run.calibration_digest)
    unfitted = thresholds_with(session, run.calibration_digest).unfitted(schema)
    found = {
        "uncalibrated": bool(unfitted),
        "unqualified": verdict is None or not verdict.qualified or not _covers(verdict, schema),
    }
    partly = unfitted if run.calibration_digest else ()
    for shortcoming in SHORTCOMINGS:
        if found[shortcoming] and shortcoming not in accepted:
            of = f" for {', '.join(partly)}" if partly and shortcoming == "uncalibrated" else ""
            raise Permanent(
                f"the labels of {run.labeler!r} are {shortcoming}{of}: no cohort is made of them. "
                f"{_REMEDY[shortcoming]}, or --accept-{shortcoming}, which the cohort will say"
            )
    shortcomings = tuple(each for each in SHORTCOMINGS if found[each])
    unjudged = () if verdict is None or found["unqualified"] else verdict.figures["unjudged"]
    return _Accepted(shortcomings, partly, tuple(unjudged))


def _covers(verdict: Qualification, schema: LabelSchema) -> bool:
    """Tell whether a verdict speaks of everything that a cohort takes; an early one of no sites."""
    known = {*verdict.figures.get("observations", ()), *verdict.figures.get("unjudged", ())}
    return known >= set(conditions(schema))


def newest_run(session: Session, labeler: str, schema: LabelSchema) -> int:
    """Return the id of the run by which the labeler reads with this schema.

    Raises:
        Permanent: there is none.
    """
    found = standing.newest_run(session, labeler, schema.digest)
    if found is None:
        raise Permanent(
            f"labeler {labeler!r} has not read any report yet by schema {schema.name!r} as it is "
            "now: see `radloop label`"
        )
    return found.id or 0


def newest_cohort(session: Session, name: str) -> Cohort:
    """Return the newest cohort of this name.

    Raises:
        Permanent: there is none.
    """
    query = select(Cohort).where(Cohort.name == name).order_by(col(Cohort.id).desc())
    found = session.exec(query).first()
    if found is None:
        raise Permanent(f"there is no cohort {name!r}: see `radloop cohort freeze`")
    return found


def _relative(path: Path, context: Context) -> Path:
    return path.relative_to(context.folder.root)
