"""Stage: labels and links become a frozen cohort, with a manifest on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlmodel import Session, col, select

from dicom_node.durable import write_durably
from dicom_node.studies import complete_studies
from labeling import standing
from labeling.models import LabelingRun, Qualification
from labeling.reference import reader_labels
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
from plugin.names import check_name
from plugin.source_digest import code_identity
from plugin.stages.basis import HOW, UNSAMPLED, what_lacks
from plugin.stages.cohort_pictures import look_at_members
from plugin.stages.cohort_summary import matches_nothing, summarise
from plugin.stages.complete import Completeness
from plugin.stages.ground import ground_of
from plugin.stages.series_choices import choose_series
from training.cohort import freeze, manifest
from training.images.rule_file import load_rule
from training.images.series_rule import ImageSeriesRule
from training.models import Cohort
from training.query import CohortQuery
from training.settings import PredictionRule

SHORTCOMINGS = ("uncalibrated", "unqualified", UNSAMPLED)
"""What a person can accept of the labels that enter a cohort; it is written into it.

The last: thresholds, verdict or test fold rest on readers' labels that were not sampled, blinded
and adjudicated.
"""


_REMEDY = {
    "uncalibrated": "`radloop labeler calibrate` on reference labels and `radloop label` first",
    "unqualified": "`radloop labeler qualify` on reference labels first",
    UNSAMPLED: f"{HOW}, and then calibrate and qualify anew",
}


def freeze_cohort(
    context: Context,
    name: str,
    labeler: str,
    accepted: Sequence[str] = (),
    request: CohortRequest | None = None,
    progress: Progress = lambda _: None,
    *,
    dry_run: bool = False,
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
        accepted: shortcomings that may be (``SHORTCOMINGS``).
        request: what the cohort is asked for; None: what the settings say.
        progress: told how many images were looked at.
        dry_run: whether the cohort is thrown away; what was seen of its images is kept.

    Returns:
        The cohort's digest, members by fold, exclusions by reason, what of the request
        ``matches_nothing``, and the manifest's path ("" of a dry run).

    Raises:
        Permanent: the labeler has not read any report yet, or is not calibrated or not qualified,
            or that or the test fold rests on readers' labels that were not sampled, blinded and
            adjudicated, and nobody accepted that; or the request cannot be met, or the name.
        training.leaks.LeakFound: a person or a picture may be on two sides.
    """
    request = request or CohortRequest()
    _check_name(name)
    Completeness(context).sweep()
    ground = ground_of(context.settings)
    rule = _image_rule(context, request)
    with context.database.read() as session:
        # Studies that become complete from here on are not looked at: they wait for another freeze.
        looked_at = set(complete_studies(session))
    if rule is not None:
        choose_series(context, rule, looked_at, progress)
    ask = _Asked(context, name, labeler, accepted, request, rule)
    look_at_members(context, ask.query, looked_at, progress)
    with context.database.write() as session:
        query = ask.query(session)
        cohort = freeze(
            session,
            query,
            context.settings.training,
            context.clock,
            ground.salt,
            [uid for uid in complete_studies(session) if uid in looked_at],
            ground.name_of,
            code_identity(),
        )
        record = manifest(session, cohort)
        summary = summarise(session, cohort, ground)
        nothing = matches_nothing(session, query, cohort, ground, request.body_parts or ())
        # In the transaction: an erasure that follows finds the file.
        path = context.folder.cohorts / f"{cohort.digest}.json"
        if dry_run:
            session.rollback()
        else:
            write_durably(path, json.dumps(record, indent=1).encode())
    kept = "" if dry_run else str(_relative(path, context))
    if dry_run:
        summary["frozen_at"] = ""
    return {**summary, "matches_nothing": nothing, "dry_run": dry_run, "manifest": kept}


def _check_name(name: str) -> None:
    """Refuse a name that people cannot see whole in a list, or that names a manifest."""
    check_name("a cohort", name)
    if name.endswith(".json"):
        raise Permanent("a cohort's name does not end in .json: that names a manifest")


@dataclass(frozen=True)
class _Asked:
    """What a cohort is asked for; the settings say what the request leaves out."""

    context: Context
    name: str
    labeler: str
    accepted: Sequence[str]
    request: CohortRequest
    image_rule: ImageSeriesRule | None

    def query(self, session: Session) -> CohortQuery:
        schema, request = self.context.schema(), self.request
        run_id = newest_run(session, request.labeler or self.labeler, schema)
        found = _accepted(session, run_id, schema, self.accepted)
        found = _with_test_fold(session, found, self.accepted)
        return query_of(
            request,
            self.name,
            schema,
            run_id,
            accepted=found.shortcomings,
            uncalibrated=found.uncalibrated,
            unjudged=found.unjudged,
            device_names=(self.context.settings.reporting.device_name,),
            **self._images(schema),
        )

    def _images(self, schema: LabelSchema) -> dict[str, Any]:
        if self.image_rule is not None:
            return {
                "modality": self.image_rule.modalities[0],
                "series_rule": self.image_rule.name,
                "image_rule": self.image_rule.digest,
            }
        rule = _first_rule(self.context)
        modality = rule.modality if rule else schema.modality
        parts = (rule.body_part,) if rule and rule.body_part else schema.body_parts
        description = rule.series_description if rule else ""
        return {"modality": modality, "body_parts": parts, "series_description": description}


def _image_rule(context: Context, request: CohortRequest) -> ImageSeriesRule | None:
    """Return the rule for series that the request names, or the settings where it names nothing."""
    if request.series_rule:
        return load_rule(request.series_rule)
    others = (request.modality, request.body_parts, request.series_description)
    rule = _first_rule(context)
    if rule is None or not rule.series_rule or request.sequences or any(others):
        return None
    return load_rule(rule.series_rule)


def _first_rule(context: Context) -> PredictionRule | None:
    return next(iter(context.settings.prediction), None)


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
    unqualified = verdict is None or not verdict.qualified or not _covers(verdict, schema)
    records = [
        *([] if holds is None or not run.calibration_digest else [holds.summary]),
        *([] if verdict is None or unqualified else [verdict.figures]),
    ]
    found = {
        "uncalibrated": bool(unfitted),
        "unqualified": unqualified,
        UNSAMPLED: any(_rests_on_others(each) for each in records),
    }
    partly = unfitted if run.calibration_digest else ()
    for shortcoming in SHORTCOMINGS:
        if found[shortcoming] and shortcoming not in accepted:
            raise Permanent(_refusal(run.labeler, shortcoming, partly))
    shortcomings = tuple(each for each in SHORTCOMINGS if found[each])
    unjudged = () if verdict is None or found["unqualified"] else verdict.figures["unjudged"]
    return _Accepted(shortcomings, partly, tuple(unjudged))


def _refusal(labeler: str, shortcoming: str, partly: Sequence[str]) -> str:
    of = f" for {', '.join(partly)}" if partly and shortcoming == "uncalibrated" else ""
    what = f"the labels of {labeler!r} are {shortcoming}{of}"
    if shortcoming == UNSAMPLED:
        what = (
            f"thresholds or verdict of {labeler!r} rest on readers' labels that were not sampled, "
            "blinded and adjudicated"
        )
    return (
        f"{what}: no cohort is made of them. {_REMEDY[shortcoming]}, or --accept-{shortcoming}, "
        "which the cohort will say"
    )


def _with_test_fold(session: Session, found: _Accepted, accepted: Sequence[str]) -> _Accepted:
    """Return the same with the shortcoming of a test fold without one label that deserves it.

    Raises:
        Permanent: it has it, and nobody accepted that.
    """
    if UNSAMPLED in found.shortcomings:
        return found
    labels = reader_labels(session, "image")
    given = [each for places in labels.values() for each in places.values()]
    if not given or any(not each.lacks for each in given):
        return found
    if UNSAMPLED not in accepted:
        raise Permanent(
            f"none of {len(given)} labels that readers gave to images may test: "
            f"{what_lacks(given)}. `radloop reference sample --level image` draws studies for "
            "readers; or --accept-unsampled, which the cohort will say"
        )
    return replace(found, shortcomings=(*found.shortcomings, UNSAMPLED))


def _rests_on_others(record: Mapping[str, Any]) -> bool:
    """Tell whether a calibration or verdict rests on readers' labels that do not deserve it.

    Early records do not say on which: nobody had sampled then.
    """
    return UNSAMPLED in record.get("accepted", [UNSAMPLED])


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
