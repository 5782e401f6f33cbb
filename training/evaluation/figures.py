"""All figures of a plan, from reference labels and predictions; knows no database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from labeling.evaluation.resampling import Floats
from training.evaluation.attributes import Attributes
from training.evaluation.calibration import calibration
from training.evaluation.pairing import compare_models
from training.evaluation.plan import Plan, PlannedModel
from training.evaluation.subgroups import by_subgroup
from training.evaluation.test_set import Item
from training.metrics import evaluate
from training.targets import Place

Said = Mapping[str, Mapping[Place, float | None]]
"""Probabilities of one model by Study Instance UID and place; None: not evaluated."""

REFERENCE = "against reference labels of human readers"
UNSAMPLED_REFERENCE = (
    "agreement with human labels of images that were not sampled, blinded and adjudicated"
)


def figures_of(
    plan: Plan,
    items: Sequence[Item],
    said: Mapping[str, Said],
    attributes: Mapping[str, Attributes],
) -> dict[str, Any]:
    """Return the figures of a plan, JSON-ready; nothing in them names a study or a patient.

    Args:
        plan: a frozen one.
        items: the test set.
        said: by model, NAME:VERSION.
        attributes: by Study Instance UID.

    Returns:
        ``called`` (what the figures may be called), ``primary``, ``models`` (a list: ``model``,
        ``observations`` as of ``metrics.evaluate``, ``macro``, ``calibration``, ``subgroups``) and
        ``comparison`` (``first``, ``second``, ``observations``; empty for one model).
    """
    keys = [each.patient_key for each in items]
    targets = {name: _targets(items, name) for name in plan.observations}
    probabilities = {
        reference: {name: _probabilities(items, name, own) for name in targets}
        for reference, own in said.items()
    }
    groups = {
        name: [getattr(attributes.get(each.study_instance_uid, _UNKNOWN), name) for each in items]
        for name in plan.subgroups
    }
    models = [
        _of_model(plan, each, targets, probabilities[each.reference], keys, groups)
        for each in plan.models
    ]
    found = {
        "called": UNSAMPLED_REFERENCE if "unsampled" in plan.accepted else REFERENCE,
        "models": models,
        "comparison": _comparison(plan, targets, probabilities, keys),
    }
    return {**found, "primary": _primary(plan, found)}


_UNKNOWN = Attributes()


def _of_model(
    plan: Plan,
    model: PlannedModel,
    targets: Mapping[str, Floats],
    said: Mapping[str, Floats],
    keys: Sequence[str],
    groups: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    samples, seed, points = plan.samples, plan.seed, model.operating_points
    found = evaluate(targets, said, keys, points, samples=samples, seed=seed)
    return {
        "model": model.reference,
        "observations": found["observations"],
        "macro": found["macro"],
        "calibration": {
            name: calibration(
                targets[name], said[name], keys, bins=plan.bins, samples=samples, seed=seed
            )
            for name in targets
        },
        "subgroups": by_subgroup(targets, said, keys, points, groups, samples=samples, seed=seed),
    }


def _comparison(
    plan: Plan,
    targets: Mapping[str, Floats],
    said: Mapping[str, Mapping[str, Floats]],
    keys: Sequence[str],
) -> dict[str, Any]:
    if len(plan.models) < 2:
        return {}
    first, second = plan.models
    return {
        "first": first.reference,
        "second": second.reference,
        "observations": compare_models(
            targets,
            said[first.reference],
            said[second.reference],
            keys,
            (first.operating_points, second.operating_points),
            samples=plan.samples,
            seed=plan.seed,
        ),
    }


def _primary(plan: Plan, found: Mapping[str, Any]) -> dict[str, Any]:
    observation, figure = plan.primary
    if found["comparison"]:
        compared = found["comparison"]["observations"][observation]
        what = f"difference of {' - '.join(each.reference for each in plan.models)}"
        value, counts = compared["difference"][figure], compared
    else:
        model = found["models"][0]
        counts = model["observations"][observation]
        of = model["calibration"][observation] if figure == "brier" else counts
        what, value = model["model"], of[figure]
    return {
        "observation": observation,
        "figure": figure,
        "of": what,
        **value,
        **{name: counts[name] for name in ("n", "positives", "patients")},
    }


def _targets(items: Sequence[Item], observation: str) -> Floats:
    return np.array([list(each.targets[observation].values()) for each in items], dtype=np.float64)


def _probabilities(items: Sequence[Item], observation: str, said: Said) -> Floats:
    rows = [
        [said.get(each.study_instance_uid, {}).get((observation, site)) for site in own]
        for each in items
        for own in (each.targets[observation],)
    ]
    return np.array(rows, dtype=np.float64)
