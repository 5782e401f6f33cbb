"""The content of a frozen cohort as a dict for JSON, and the digest over it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from labeling.models import LabelingRun
from training.models import Cohort, CohortMember
from training.targets import Place
from training.typed_targets import Said


def content(cohort: Cohort, run: LabelingRun, members: list[CohortMember]) -> dict[str, Any]:
    """Return everything that makes a cohort this cohort; the time of freezing does not."""
    return {
        "name": cohort.name,
        "schema": {"name": cohort.schema_name, "digest": cohort.schema_digest},
        "labeling_run": {
            "id": run.id,
            "labeler": run.labeler,
            "model_digest": run.model_digest,
            "prompt_digest": run.prompt_digest,
        },
        "query": cohort.query,
        # Earlier cohorts have none and keep their digests.
        **({"provenance": cohort.provenance} if cohort.provenance else {}),
        "members": [_member(each) for each in members if not each.exclusion_reason],
        "exclusions": [_exclusion(each) for each in members if each.exclusion_reason],
    }


def _member(member: CohortMember) -> dict[str, Any]:
    return {
        "study_instance_uid": member.study_instance_uid,
        "patient_key": member.patient_key,
        "fold": member.fold,
        "report_id": member.report_id,
        "images_digest": member.images_digest,
        "targets": member.targets,
        # Earlier cohorts have none and keep their digests.
        **({"details": member.details} if member.details else {}),
        **_made_of(member),
    }


def _made_of(member: CohortMember) -> dict[str, Any]:
    """Return the digests of what a member was made of; earlier cohorts hold none."""
    if not member.images:
        return {}
    return {
        "report_sha256": member.report_sha256,
        "labels_sha256": member.labels_sha256,
        "images": member.images,
    }


def text_digest(text: str) -> str:
    """Return SHA-256 of a report's text in UTF-8."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def labels_digest(
    states: Mapping[Place, str | None],
    probabilities: Mapping[Place, float],
    said: Mapping[Place, Said] | None = None,
) -> str:
    """Return SHA-256 over what was said of each place: state, probability, severity and words.

    Where nothing is said of severity and place, the digest is that of earlier cohorts.
    """
    rows = sorted(
        [
            *place,
            None if state is None else str(state),
            probabilities.get(place),
            *_more(said, place),
        ]
        for place, state in states.items()
    )
    text = json.dumps(rows, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _more(said: Mapping[Place, Said] | None, place: Place) -> list[object]:
    found = (said or {}).get(place)
    return [found.severity, list(found.locations)] if found else []


def _exclusion(member: CohortMember) -> dict[str, Any]:
    return {
        "study_instance_uid": member.study_instance_uid,
        "patient_key": member.patient_key,
        "reason": member.exclusion_reason,
    }


def digest_of(content: dict[str, Any]) -> str:
    """Return SHA-256 over canonical JSON: sorted keys, no spaces, ASCII."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
