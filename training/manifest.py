"""The content of a frozen cohort as a dict for JSON, and the digest over it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from labeling.models import LabelingRun
from training.models import Cohort, CohortMember


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
    }


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
