"""Labelers beside readers: figures, pictures, worst errors; reads the tables and changes nothing.

Where the readers' labels also fitted the thresholds, every report is judged by thresholds fitted on
other patients (cross-validation), and the result says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlmodel import Session

from dicom_node.durable import write_durably
from labeling.evaluation.agreement import Agreement, agreement, judgements, unweighted
from labeling.evaluation.calibration import FitRule, cross_fitted
from labeling.evaluation.cases import Case, decided
from labeling.evaluation.comparison import Comparison, compare
from labeling.evaluation.drawing import draw_all
from labeling.evaluation.errors import LabelError, excerpts, worst_errors
from labeling.evaluation.evidence import evidence_overlap
from labeling.evaluation.metrics import Estimate
from labeling.models import Calibration
from labeling.standing import calibration_of
from labeling.thresholds import UNCALIBRATED, Thresholds
from plugin.context import Progress
from plugin.settings import Settings
from plugin.stages.judged import Judged
from plugin.stages.readings import Wanted, judged_of

UNCALIBRATED_STATES = "states of the labeler as it comes: no thresholds are fitted"
HELD_OUT = "thresholds fitted on other reports and readers' labels than these"
SAME_LABELS = (
    "thresholds fitted on these same reports or labels: the figures flatter; --folds judges each "
    "report by thresholds of other patients"
)


@dataclass(frozen=True)
class Standing:
    """Cases with states, the sentence that says whose thresholds gave them, and these."""

    cases: list[Case]
    judged_by: str
    thresholds: Thresholds
    calibrated: bool


def states_of(session: Session, judged: Judged, folds: int, *, seed: int = 0) -> Standing:
    """Decide the cases by the calibration that holds, or by folds where it knows these labels."""
    calibration = calibration_of(session, judged.configuration)
    if calibration is None:
        cases = decided(judged.cases, judged.schema, UNCALIBRATED, sought=judged.sought)
        return Standing(cases, UNCALIBRATED_STATES, UNCALIBRATED, calibrated=False)
    thresholds = Thresholds.from_json(calibration.thresholds)
    shared = was_fitted_on(calibration, judged)
    if shared and folds > 1:
        rule = _rule_of(calibration)
        cases = cross_fitted(
            judged.cases, judged.schema, folds=folds, rule=rule, seed=seed, sought=judged.sought
        )
        said = f"{folds}-fold cross-validation by patient: thresholds of the other folds"
        return Standing(cases, said, thresholds, calibrated=True)
    cases = decided(judged.cases, judged.schema, thresholds, sought=judged.sought)
    return Standing(cases, SAME_LABELS if shared else HELD_OUT, thresholds, calibrated=True)


def _rule_of(calibration: Calibration) -> FitRule:
    """Return the rule that thresholds were fitted by; sites had none of their own at first."""
    kept = calibration.summary.get("rule", {})
    earlier = {"site_cut": kept["cut"], "given_up": 1.0} if "cut" in kept else {}
    return FitRule(**{**earlier, **kept})


def evaluate_labeler(
    session: Session,
    settings: Settings,
    wanted: Wanted,
    progress: Progress,
    *,
    folds: int = 5,
    resamples: int = 1000,
    errors: int = 10,
    folder: Path | None = None,
) -> dict[str, Any]:
    """Return how a labeler agrees with readers, and write pictures and JSON where asked.

    Args:
        session, settings: of the node.
        wanted: whose readings, of which reports.
        progress: takes lines while reports are read.
        folds: for cross-validation where thresholds were fitted on these labels; 0: never.
        resamples: bootstrap samples.
        errors: how many of the worst errors are shown, with the words of their spans.
        folder: takes evaluation.json, errors.json and the pictures; is created where it is not.

    Raises:
        Permanent: nothing can be judged.
    """
    judged = judged_of(lambda: nullcontext(session), settings, wanted, progress)
    standing = states_of(session, judged, folds)
    whole = agreement(judgements(standing.cases), resamples=resamples)
    sites = agreement(judgements(standing.cases, at_sites=True), resamples=resamples)
    result = {
        "labeler": wanted.labeler,
        "model": judged.model_name or judged.configuration.model_digest[:16],
        "schema": judged.schema.name,
        "reports": len(judged.cases),
        "patients": len({each.patient for each in judged.cases}),
        "readers": _readers(judged),
        "called": judged.called,
        "judged_by": standing.judged_by,
        "intervals": f"95 %, {resamples} bootstrap samples of patients" if resamples else "none",
        "weights": _weights(whole | {f"{name} at its sites": each for name, each in sites.items()}),
        "figures": [figures_row(each) for each in whole.values()],
        "per_site": [figures_row(each) for each in sites.values()],
        "unweighted": _unweighted(standing.cases, whole, resamples),
        "evidence": [
            {"observation": name, **_numbers(asdict(each))}
            for name, each in evidence_overlap(standing.cases).items()
        ],
        "confusion": [row for each in whole.values() for row in confusion_rows(each)],
    }
    worst = [
        _error_row(each, judged)
        for each in worst_errors(standing.cases, standing.thresholds, errors)
    ]
    if folder is not None:
        title = f"{wanted.labeler}, {len(judged.cases)} reports"
        result["files"] = _write(folder, result, worst, whole, title)
    return {**result, "worst_errors": worst}


def _weights(found: Mapping[str, Agreement]) -> str:
    """Return in words whether figures are weighted."""
    effects = [each.design_effect for each in found.values() if each.design_effect != 1]
    if not effects:
        return "none: all were drawn alike, or nobody knows how"
    return (
        "figures are those of the frame, each label counting by one over the probability with "
        f"which it was drawn; labels are worth 1/{max(effects):.2f} of their number at worst; "
        "`unweighted` has the figures of the labels as they are"
    )


def _unweighted(
    cases: Iterable[Case], weighted: Mapping[str, Agreement], resamples: int
) -> list[dict[str, Any]]:
    """Return the figures of the mixture that was drawn; none where it is that of the frame."""
    if all(each.design_effect == 1 for each in weighted.values()):
        return []
    plain = agreement(unweighted(judgements(cases)), resamples=resamples)
    return [figures_row(each) for each in plain.values()]


def compare_labelers(
    session: Session,
    settings: Settings,
    first: Wanted,
    second: Wanted,
    progress: Progress,
    *,
    folds: int = 5,
    resamples: int = 1000,
) -> dict[str, Any]:
    """Return the paired differences of two labelers on the reports that both have read.

    Raises:
        Permanent: nothing can be judged.
    """
    judged = [
        judged_of(lambda: nullcontext(session), settings, each, progress)
        for each in (first, second)
    ]
    found = [states_of(session, each, folds) for each in judged]
    both = [list(judgements(each.cases)) for each in found]
    return {
        "first": first.labeler,
        "second": second.labeler,
        "called": ", ".join(sorted({each.called for each in judged})),
        "judged_by": {first.labeler: found[0].judged_by, second.labeler: found[1].judged_by},
        "differences": [
            row
            for each in compare(both[0], both[1], resamples=resamples).values()
            for row in difference_rows(each)
        ],
    }


def figures_row(each: Agreement) -> dict[str, Any]:
    """Return one observation's figures as values of JSON; intervals as low and high."""
    row: dict[str, Any] = {
        "observation": each.observation,
        "n": each.n,
        "present": each.n_present,
        "uncertain_references": each.n_uncertain_reference,
        "uncertain": each.n_uncertain,
        "failed": each.n_failed,
        "not_asked": each.n_not_asked,
    }
    for name in (
        "auroc",
        "auroc_possible",
        "balanced_accuracy",
        "macro_f1",
        "f1",
        "sensitivity",
        "specificity",
        "precision",
        "prevalence",
        "brier",
    ):
        estimate: Estimate | None = getattr(each, name)
        if estimate is None:
            row[name] = row[f"{name}_low"] = row[f"{name}_high"] = None
            continue
        row[name] = estimate.value
        row[f"{name}_low"], row[f"{name}_high"] = estimate.low, estimate.high
    row["calibration_error"] = each.calibration_error
    row["design_effect"] = each.design_effect
    return _numbers(row)


def confusion_rows(each: Agreement) -> Iterable[dict[str, Any]]:
    """Yield how often a reader's state met a labeler's."""
    for (reference, label), count in sorted(each.confusion.items()):
        yield {
            "observation": each.observation,
            "reader": str(reference),
            "labeler": str(label),
            "reports": count,
        }


def difference_rows(each: Comparison) -> Iterable[dict[str, Any]]:
    """Yield what the first labeler has ahead of the second, a figure a row."""
    for figure, difference in each.differences.items():
        yield _numbers(
            {
                "observation": each.observation,
                "figure": figure,
                "n": each.n,
                "present": each.n_present,
                "difference": difference.value,
                "low": difference.low,
                "high": difference.high,
                "p_delong": each.p_auroc if figure == "auroc" else None,
                "same_state": each.same,
            }
        )


def was_fitted_on(calibration: Calibration, judged: Judged) -> bool:
    """Tell whether the thresholds know some of these labels, or some of these reports by others."""
    spans, texts = (calibration.summary.get(name) for name in ("reference_labels", "texts"))
    if spans is None or texts is None:
        return True  # nobody knows on which it rests
    by_label = any(first <= row <= last for row in judged.label_ids for first, last in spans)
    return by_label or not judged.texts.isdisjoint(texts)


def _readers(judged: Judged) -> str:
    labels = [each for report in judged.reports.values() for each in report.labels.values()]
    names = sorted({name for each in labels for name in each.readers})
    blinded = sum(each.blinded == "yes" for each in labels)
    apart = sum(each.state is None for each in labels)
    sampling = sorted({each.sampling or "not said" for each in labels})
    others = f"; {judged.left_out} labels that are no such reference are left out"
    several = f"; {judged.ambiguous} accession numbers of several patients are left out"
    return (
        f"{len(names)}; blinded to machines for {blinded} of {len(labels)} labels; "
        f"{apart} on which they disagree are left out; sampling: {', '.join(sampling)}"
        + others * bool(judged.left_out)
        + several * bool(judged.ambiguous)
    )


def _error_row(error: LabelError, judged: Judged) -> dict[str, Any]:
    row = asdict(error)
    words = excerpts(error, judged.reports[error.report].text)
    return {
        **_numbers(row),
        "reference": str(error.reference),
        "label": str(error.label),
        "evidence": [list(each) for each in error.evidence],
        "quotes": [list(each) for each in error.quotes],
        "words_of_evidence": words["evidence"],
        "words_of_reader": words["quote"],
    }


def _write(
    folder: Path,
    result: Mapping[str, Any],
    worst: list[dict[str, Any]],
    whole: Mapping[str, Agreement],
    title: str,
) -> list[str]:
    files = draw_all(whole, folder, title)
    for name, content in (("evaluation.json", result), ("errors.json", worst)):
        path = folder / name
        write_durably(path, json.dumps(content, indent=1, ensure_ascii=False).encode())
        files.append(path)
    return [str(each) for each in files]


def _numbers(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row whose numbers JSON can hold: NaN means that the figure does not exist."""
    return {
        name: (None if value != value else round(value, 4)) if isinstance(value, float) else value
        for name, value in row.items()
    }
