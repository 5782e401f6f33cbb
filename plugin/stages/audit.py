"""Report labels beside readers' labels of the images, as tables; reads and changes nothing."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sqlmodel import Session

from labeling.evaluation.metrics import Estimate
from labeling.schema_file import schema_of
from plugin.errors import Permanent
from plugin.settings import Settings
from plugin.stages.cohort import newest_run
from plugin.stages.ground import ground_of
from training.evaluation.audit import Audit, Pair, audit, pairs_of
from training.evaluation.plan import UNSAMPLED_REFERENCE
from training.patients import read_patients

_ONLY_DESERVING = " that was sampled, blinded and adjudicated (--accept-unsampled takes others)"
_REFERENCE = "labels of reports beside reference labels of images"


def audit_labels(
    session: Session,
    settings: Settings,
    labeler: str,
    *,
    samples: int = 1000,
    seed: int = 0,
    limit: int = 20,
    accept_unsampled: bool = False,
) -> dict[str, Any]:
    """Compare the labels of a labeler's newest run with the readers' labels of the same studies.

    Args:
        session, settings: of the node.
        labeler: whose run.
        samples, seed: of the bootstrap by patient.
        limit: how many single differences are listed.
        accept_unsampled: take image labels too that were not sampled, blinded and adjudicated.

    Returns:
        ``called``; ``conditions`` (counts, the two-by-two table, figures with intervals),
        ``states`` (the table of states), ``differences`` (how many places differ), and of these
        ``studies``: Study Instance UID, observation, site, what the report says and the images.

    Raises:
        Permanent: no study has both kinds of labels.
    """
    schema, ground = schema_of(settings.labeling), ground_of(settings)
    pairs = pairs_of(
        session,
        newest_run(session, labeler, schema),
        read_patients(session, ground.name_of),
        ground.salt,
        {each.id for each in schema.observations},
        deserving=not accept_unsampled,
    )
    if not pairs:
        raise Permanent(
            f"no study has both a final report that {labeler!r} has read and a label of its images"
            + ("" if accept_unsampled else _ONLY_DESERVING)
        )
    found = audit(pairs, samples=samples, seed=seed)
    differing = [each for each in pairs if each.differs]
    return {
        "labeler": labeler,
        "called": UNSAMPLED_REFERENCE if accept_unsampled else _REFERENCE,
        "conditions": [_row(each) for each in found],
        "states": [row for each in found for row in each.states()],
        "differences": len(differing),
        "studies": [_difference(each) for each in differing[:limit]],
    }


def _row(each: Audit) -> dict[str, Any]:
    of = each.agreement
    figures = {
        "agreement": each.same,
        "kappa": each.kappa,
        "sensitivity": of.sensitivity,
        "specificity": of.specificity,
    }
    return {
        "condition": each.condition,
        "studies": each.studies,
        "n": of.n,
        "image_present": of.n_present,
        "image_uncertain": of.n_uncertain_reference,
        "disputed": each.disputed,
        **each.two_by_two,
        **{key: value for name, figure in figures.items() for key, value in _spread(name, figure)},
        "design_effect": of.design_effect,
    }


def _spread(name: str, figure: Estimate) -> list[tuple[str, float | None]]:
    keys = {"value": name, "low": f"{name}_low", "high": f"{name}_high"}
    return [
        (keys[part], None if number != number else number)
        for part, number in asdict(figure).items()
    ]


def _difference(pair: Pair) -> dict[str, str]:
    return {
        "study_instance_uid": pair.study,
        "observation": pair.observation,
        "site": pair.site,
        "report": str(pair.report),
        "image": str(pair.image),
    }
