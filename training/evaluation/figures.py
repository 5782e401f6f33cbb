"""All figures of a plan, from reference labels and predictions; knows no database."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from labeling.evaluation.resampling import Floats
from labeling.evaluation.weights import unequal
from labeling.vocabulary import WHOLE
from training.errors import Permanent
from training.evaluation.attributes import Attributes
from training.evaluation.calibration import calibration
from training.evaluation.pairing import compare_models
from training.evaluation.plan import (
    MIXTURE,
    REFERENCE,
    UNSAMPLED_REFERENCE,
    Plan,
    PlannedModel,
    Said,
)
from training.evaluation.subgroups import by_subgroup
from training.evaluation.test_set import Item
from training.learning.members import whole
from training.metrics import evaluate

Progress = Callable[[str], None]


def _silent(_: str) -> None:
    """Tell nobody."""


def figures_of(
    plan: Plan,
    items: Sequence[Item],
    said: Mapping[str, Said],
    attributes: Mapping[str, Attributes],
    progress: Progress = _silent,
) -> dict[str, Any]:
    """Return the figures of a plan, JSON-ready; nothing in them names a study or a patient.

    Args:
        plan: a frozen one.
        items: the test set.
        said: by model, NAME:VERSION.
        attributes: by Study Instance UID.
        progress: told one line at a time.

    Returns:
        ``called`` (what the figures may be called), ``primary``, ``models`` (a list: ``model``,
        ``observations`` as of ``metrics.evaluate``, ``macro``, ``calibration``, ``subgroups``) and
        ``comparison`` (``first``, ``second``, ``observations``; empty for one model).
    """
    check_levels(said)
    keys = [each.patient_key for each in items]
    targets = {
        reference: {name: _targets(items, name, whole_studies=_is_whole(own)) for name in names}
        for reference, own in said.items()
        for names in (plan.observations,)
    }
    probabilities = {
        reference: {
            name: _probabilities(items, name, own, targets[reference][name])
            for name in plan.observations
        }
        for reference, own in said.items()
    }
    groups = {
        name: [getattr(attributes.get(each.study_instance_uid, _UNKNOWN), name) for each in items]
        for name in plan.subgroups
    }
    models = [
        _of_model(
            plan,
            each,
            (targets[each.reference], probabilities[each.reference]),
            keys,
            groups,
            progress,
        )
        for each in plan.models
    ]
    if len(models) > 1:
        progress("the difference of the models")
    found = {
        "called": _called(plan, items),
        "models": models,
        "comparison": _comparison(plan, next(iter(targets.values())), probabilities, keys),
    }
    return {**found, "primary": _primary(plan, found)}


_UNKNOWN = Attributes()


def _called(plan: Plan, items: Sequence[Item]) -> str:
    # A cohort may have accepted others and its test set hold none, or labels of reports alone.
    lacking = "unsampled" in plan.accepted and any(each.lacks for each in items)
    said = UNSAMPLED_REFERENCE if lacking else REFERENCE
    return f"{said}; {MIXTURE}" if unequal(each.weight for each in items) else said


def _of_model(
    plan: Plan,
    model: PlannedModel,
    cases: tuple[Mapping[str, Floats], Mapping[str, Floats]],
    keys: Sequence[str],
    groups: Mapping[str, Sequence[str]],
    progress: Progress,
) -> dict[str, Any]:
    samples, seed, points = plan.samples, plan.seed, model.operating_points
    targets, said = cases
    progress(f"{model.reference}: figures of the test set")
    found = evaluate(targets, said, keys, points, samples=samples, seed=seed)
    progress(f"{model.reference}: calibration")
    calibrated = {
        name: calibration(
            targets[name], said[name], keys, bins=plan.bins, samples=samples, seed=seed
        )
        for name in targets
    }
    progress(f"{model.reference}: subgroups")
    return {
        "model": model.reference,
        "observations": found["observations"],
        "macro": found["macro"],
        "calibration": calibrated,
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


def check_levels(said: Mapping[str, Said]) -> None:
    """Check that all models speak of whole studies, or all of sites.

    Raises:
        Permanent: they do not; no figure would be about the same cases.
    """
    if len({_is_whole(own) for own in said.values()}) > 1:
        raise Permanent("one model speaks of whole studies and the other of sites")


def _is_whole(said: Said) -> bool:
    return {site for own in said.values() for _, site in own} == {WHOLE}


def _targets(items: Sequence[Item], observation: str, *, whole_studies: bool) -> Floats:
    """Return targets (studies, sites); of whole studies (studies, 1), as in training."""
    by_site = [each.targets[observation] for each in items]
    rows = (
        [[whole(own)] for own in by_site] if whole_studies else [[*own.values()] for own in by_site]
    )
    return np.array(rows, dtype=np.float64)


def _probabilities(items: Sequence[Item], observation: str, said: Said, targets: Floats) -> Floats:
    """Return probabilities in the shape of the targets; NaN: not evaluated."""
    rows = [
        [
            said.get(each.study_instance_uid, {}).get((observation, site))
            for site in ([WHOLE] if _is_whole(said) else each.targets[observation])
        ]
        for each in items
    ]
    return np.array(rows, dtype=np.float64).reshape(targets.shape)
