"""What the training recorded of the test fold, and of the way there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from training.cards.subject import Subject
from training.evaluation.openings import openings_of_studies, trainings_on
from training.metrics import COVERAGE, DECIDED, RANKED

NOT_RECORDED = "the training did not record it: it ran before radloop did"


def results(subject: Subject) -> dict[str, Any]:
    """Return figures with intervals by observation, baselines beside them, curves and bins."""
    test = subject.record.get("test") or {}
    observations = test.get("observations", {})
    looks = _looks(subject)
    return {
        **looks,
        "fold": f"test: patients whose images readers labelled; {_chosen(looks)}",
        "coverage_percent": round(100 * COVERAGE),
        "intervals": "percentiles of a bootstrap that draws whole patients",
        "bootstrap_samples": test.get("bootstrap_samples"),
        "observations": [_observation(name, each) for name, each in observations.items()],
        "macro": test.get("macro"),
        "learning_curve": [
            {
                key: each.get(key)
                for key in ("epoch", "training_loss", "validation_loss", "validation_auroc")
            }
            for each in subject.run.curve
        ],
    }


def _looks(subject: Subject) -> dict[str, Any]:
    """Return how often the test fold was looked at: by trainings and under plans."""
    studies = [each.study_instance_uid for each in subject.of_fold("test")]
    trainings = trainings_on(subject.session, studies)
    own = [each for each in trainings if each.cohort_id == subject.cohort.id]
    return {
        "trainings_on_the_test_fold": len(trainings),
        "trainings_of_the_cohort": len(own),
        "seeds_of_the_cohort": sorted({each.seed for each in own}),
        "openings_of_the_test_fold": openings_of_studies(subject.session, studies),
    }


def _chosen(looks: Mapping[str, Any]) -> str:
    """Return what may have been chosen on the test fold, as far as the database knows."""
    trainings = looks["trainings_on_the_test_fold"]
    if trainings > 1:
        return (
            f"this training chose nothing on them, but {trainings} trainings computed figures on "
            "them, so that whoever chose among these may have gone by them"
        )
    return "this training chose nothing on them, and no other training computed figures on them"


def _observation(name: str, each: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "observation": name,
        **{key: each.get(key) for key in ("n", "positives", "patients", "prevalence", "threshold")},
        **{figure: each.get(figure) for figure in (*RANKED, *DECIDED)},
        "roc": each.get("roc"),
        "reliability": each.get("reliability"),
        "baselines": [
            {
                "name": rival,
                **{k: told.get(k) for k in ("n", *RANKED, "auroc_difference", "roc")},
            }
            for rival, told in each.get("baselines", {}).items()
        ],
    }


def operating_points(subject: Subject) -> dict[str, Any]:
    """Return the thresholds on the probability and how they were chosen."""
    return {
        "chosen_by": "the greatest sensitivity + specificity - 1 on the validation fold "
        "(Youden, Cancer 1950)",
        "points": [
            {"observation": name, "threshold": value}
            for name, value in subject.model.operating_points.items()
        ],
    }


def missing(subject: Subject) -> list[dict[str, str]]:
    """Return what the record does not hold, and why; what all findings lack stands once."""
    test = (subject.record.get("test") or {}).get("observations", {})
    lacking: dict[tuple[str, str], list[str]] = {}
    for name, each in test.items():
        for part in _lacking(each):
            lacking.setdefault(part, []).append(name.replace("_", " "))
    found = [
        {"what": f"{name.replace('_', ' ')}: not trained", "why": reason}
        for name, reason in subject.record.get("not_trained", {}).items()
    ]
    found += [
        {
            "what": f"{'every finding' if len(names) == len(test) else ', '.join(names)}: {what}",
            "why": why,
        }
        for (what, why), names in lacking.items()
    ]
    return found + [
        {"what": what, "why": NOT_RECORDED}
        for key, what in _RECORDED.items()
        if key not in subject.record
    ]


_RECORDED = {
    "settings": "settings of the training",
    "libraries": "versions of the libraries",
    "code": "digest of the source at training",
}


def _lacking(each: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is not known of one finding, and why."""
    for figure in (*RANKED, *DECIDED):
        told, name = each.get(figure) or {}, figure.replace("_", " ")
        if told.get("value") is None:
            yield name, told.get("reason") or NOT_RECORDED
        elif told.get("low") is None:
            yield f"interval of {name}", told.get("reason") or NOT_RECORDED
    if "reliability" not in each:
        yield "reliability", NOT_RECORDED
    if not each.get("roc"):
        yield "ROC curve", "all targets are of one class"
    rivals = each.get("baselines", {})
    if not any(rival.get("roc") for rival in rivals.values()):
        yield "ROC curves of baselines", NOT_RECORDED
    if not any("rule" in name for name in rivals):
        yield "a baseline by rules", "the training had none"
