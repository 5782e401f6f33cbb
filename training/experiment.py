"""From the files of a cohort to evaluated weights, in one call that knows no database.

Runs in a child process: images are decoded here. Everything that comes back is JSON-ready.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from training.baseline import logistic_baseline
from training.classifier import ClassifierFamily
from training.discs import DISC_CHAIN
from training.domain.domain import Look, learn_domain
from training.domain.overview import overview_of
from training.domain.series import Series
from training.errors import Permanent
from training.localiser import DiscLocaliser
from training.metrics import evaluate, operating_points
from training.samples import DiscSample, hard, read_discs, study_samples
from training.settings import TrainingSettings
from training.trainer import TrainingResult, train

BASELINE = "logistic regression on the same pixels"


def train_on_members(
    members: Sequence[Mapping[str, Any]],
    observations: Sequence[str],
    sites: Sequence[str],
    settings: TrainingSettings,
    family: ClassifierFamily,
    progress: Callable[[str], None],
    localiser: DiscLocaliser = DISC_CHAIN,
) -> tuple[TrainingResult, dict[str, Any]]:
    """Train on a cohort and evaluate on its test fold against human reference labels.

    Args:
        members: study_instance_uid, patient_key, fold, targets by observation and site, files.
        observations: what to train; one without positives or negatives in the training fold is
            left out, with the reason.
        sites: sites of the schema, one output row each.
        settings: of the training.
        family: network and transforms.
        progress: told one line at a time.
        localiser: what finds the discs.

    Returns:
        The trained classifier and, for the record, ``thresholds``, ``curve``, ``test`` (see
        ``metrics.evaluate``), ``not_used`` and ``not_trained`` (with reasons), ``counts``,
        ``best_epoch``, ``input`` (shape of a crop, what found the discs), ``domain`` (what its
        inputs were like).

    Raises:
        Permanent: nothing can be trained; the reason says why.
    """
    samples, not_used, looks = _samples(members, sites, progress, localiser)
    trained, not_trained = _trainable(samples, observations)
    if not trained:
        raise Permanent("no observation has both positives and negatives in the training fold")
    result = train(
        samples,
        trained,
        settings,
        family=family,
        progress=lambda each: progress(
            f"epoch {each.epoch}: validation loss {each.validation_loss:.3f}"
        ),
    )
    domain = learn_domain(looks)
    progress("evaluating on held-out patients")
    baseline = logistic_baseline(samples, trained, settings.seed)
    thresholds = _thresholds(samples, trained, result)
    record = {
        "thresholds": thresholds,
        "curve": [asdict(each) for each in result.curve],
        "best_epoch": result.best_epoch,
        "input": {
            "input_shape": list(family.input_shape),
            "localiser": {"name": localiser.name, "digest": localiser.digest},
        },
        "test": _test(samples, trained, result, baseline, thresholds, settings),
        "not_used": not_used,
        "not_trained": not_trained,
        "domain": dict(domain.record),
        "counts": {
            fold: sum(each.fold == fold for each in samples)
            for fold in ("train", "validation", "test")
        },
    }
    return replace(result, domain=domain), record


def _samples(
    members: Sequence[Mapping[str, Any]],
    sites: Sequence[str],
    progress: Callable[[str], None],
    localiser: DiscLocaliser,
) -> tuple[list[DiscSample], list[dict[str, str]], list[Look]]:
    """Read every member's images, find the discs and cut them out; say what cannot be used."""
    samples: list[DiscSample] = []
    not_used: list[dict[str, str]] = []
    looks: list[Look] = []
    for number, member in enumerate(members, start=1):
        progress(f"reading images: study {number} of {len(members)}")
        study = member["study_instance_uid"]
        try:
            paths = [Path(file) for file in member["files"]]
            discs = read_discs(paths, sites, localiser)
            facts = Series(paths).facts(whole=False)
            overview = overview_of(discs.volume.array)
        except Permanent as error:
            not_used.append({"study": study, "fold": member["fold"], "reason": str(error)})
            continue
        if reasons := set(discs.reasons.values()):
            why = "; ".join(sorted(reasons))
            missing = f"{len(discs.reasons)} of {len(sites)} discs: {why}"
            not_used.append({"study": study, "fold": member["fold"], "reason": missing})
        if discs.crops:  # a series without discs teaches nothing of what is looked at
            looks.append(Look(member["patient_key"], member["fold"], facts, overview))
        samples += study_samples(
            discs, study, member["patient_key"], member["targets"], member["fold"]
        )
    return samples, not_used, looks


def _trainable(
    samples: Sequence[DiscSample], observations: Sequence[str]
) -> tuple[list[str], dict[str, str]]:
    trained, not_trained = [], {}
    for name in observations:
        known = {each.targets.get(name) for each in samples if each.fold == "train"}
        if {0.0, 1.0} <= known:
            trained.append(name)
        else:
            not_trained[name] = "the training fold lacks positives or negatives"
    return trained, not_trained


def _column(samples: Sequence[DiscSample], fold: str, name: str) -> tuple[list[int], list[float]]:
    rows = [index for index, each in enumerate(samples) if each.fold == fold]
    return rows, [samples[index].targets.get(name, np.nan) for index in rows]


def _thresholds(
    samples: Sequence[DiscSample], trained: Sequence[str], result: TrainingResult
) -> dict[str, float | None]:
    targets, probabilities = {}, {}
    for position, name in enumerate(trained):
        rows, column = _column(samples, "validation", name)
        targets[name] = hard(np.asarray(column, dtype=float))
        probabilities[name] = result.probabilities[rows, position]
    points = operating_points(targets, probabilities)
    return {name: point.threshold for name, point in points.items()}


def _test(
    samples: Sequence[DiscSample],
    trained: Sequence[str],
    result: TrainingResult,
    baseline: Any,
    thresholds: Mapping[str, float | None],
    settings: TrainingSettings,
) -> dict[str, Any]:
    targets, ours, theirs = {}, {}, {}
    for position, name in enumerate(trained):
        rows, targets[name] = _column(samples, "test", name)
        ours[name] = result.probabilities[rows, position]
        theirs[name] = baseline[rows, position]
    keys = [each.patient_key for each in samples if each.fold == "test"]
    return evaluate(
        targets,
        ours,
        keys,
        thresholds,
        samples=settings.bootstrap_samples,
        seed=settings.seed,
        baselines={BASELINE: theirs},
    )
