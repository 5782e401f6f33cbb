"""Stage: thresholds of a labeler are fitted on readers' labels and stored."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dicom_node.durable import write_durably
from labeling.evaluation.agreement import agreement, judgements
from labeling.evaluation.calibration import FitRule, cross_fitted, fit_thresholds
from labeling.evaluation.cases import Case
from labeling.models import Calibration
from labeling.thresholds import Threshold, Thresholds, to_file
from labeling.vocabulary import LabelSchema
from plugin.context import Context, Progress
from plugin.errors import Permanent
from plugin.stages.judged import Judged
from plugin.stages.readings import Wanted, judged_of


def calibrate_labeler(
    context: Context,
    wanted: Wanted,
    rule: FitRule,
    progress: Progress,
    *,
    folds: int = 5,
    by: str = "",
    output: Path | None = None,
) -> dict[str, Any]:
    """Fit thresholds on the readers' labels of training patients; the new row holds from now on.

    Args:
        context: the open node.
        wanted: whose readings, of which reports.
        rule: how the thresholds are fitted.
        progress: takes lines while reports are read.
        folds: for the figures of other patients' folds; 0: none are computed.
        by: who fits; it is recorded.
        output: takes the thresholds, too, for ``radloop label --reports --thresholds``.

    Returns:
        ``labeler``, ``reports``, ``digest``, and ``thresholds``: a row for each condition with cut,
        band, interval, and the balanced accuracy that thresholds of other patients' folds reach.

    Raises:
        Permanent: readers' labels are missing, or too few for every condition, or none was sampled,
            blinded and adjudicated and nobody accepted that.
    """
    asked = wanted.to("calibrate")
    judged = judged_of(context.database.read, context.settings, asked, progress)
    thresholds = fitted(judged.cases, rule, judged.configuration.labeler)
    rows = threshold_rows(judged.cases, judged.schema, thresholds, rule, folds, judged.sought)
    with context.database.write() as session:
        session.add(_calibration(judged, thresholds, rule, by, context.clock()))
    if output is not None:
        write_durably(output, to_file(thresholds, asdict(judged.configuration)).encode())
    return {
        "labeler": wanted.labeler,
        "model": judged.model_name or judged.configuration.model_digest[:16],
        "reports": len(judged.cases),
        "rests_on": judged.called,
        "labels_left_out": judged.left_out,
        "digest": thresholds.digest,
        "thresholds": rows,
        "next": "radloop label reads by these thresholds, and decides stored labels anew; those "
        "without margins stay",
    }


def fitted(cases: Sequence[Case], rule: FitRule, labeler: str) -> Thresholds:
    """Fit thresholds on cases of a labeler.

    Raises:
        Permanent: readers' labels are too few for every condition.
    """
    thresholds = fit_thresholds(cases, rule)
    if not thresholds.digest:
        raise Permanent(
            f"no condition has {rule.minimum} reports that readers call present and as many that "
            f"they do not, among {len(cases)} that {labeler!r} gave margins for"
        )
    return thresholds


def _calibration(
    judged: Judged, thresholds: Thresholds, rule: FitRule, by: str, now: dt.datetime
) -> Calibration:
    return Calibration(
        **asdict(judged.configuration),
        thresholds=thresholds.to_json(),
        digest=thresholds.digest,
        n_reports=len(judged.cases),
        reference_digest=judged.reference_digest,
        summary={
            "rule": asdict(rule),
            "reference_labels": spans_of(judged.label_ids),
            "texts": sorted(judged.texts),
            **judged.rests_on,
        },
        fitted_by=by,
        fitted_at=now,
    )


def spans_of(numbers: list[int]) -> list[list[int]]:
    """Return sorted numbers as first and last of each unbroken run."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return found


def threshold_rows(
    cases: Sequence[Case],
    schema: LabelSchema,
    thresholds: Thresholds,
    rule: FitRule,
    folds: int,
    sought: Thresholds,
) -> list[dict[str, Any]]:
    """Return a row for each condition with a threshold, whole reports first.

    Args:
        cases, schema: on which the thresholds were fitted.
        thresholds: of ``fit_thresholds``.
        rule: by which.
        folds: for the balanced accuracy that thresholds of other patients reach; 0: none.
        sought: the thresholds under which the labeler read (``cases.decided``).
    """
    held_out: dict[str, dict[str, Any]] = {"whole": {}, "sites": {}}
    if folds > 1:
        judged = cross_fitted(cases, schema, folds=folds, rule=rule, sought=sought)
        held_out["whole"] = agreement(judgements(judged), resamples=0)
        held_out["sites"] = agreement(judgements(judged, at_sites=True), resamples=0)
    return [
        _row(name, where, each, held_out[where].get(name))
        for where, known in (("whole", thresholds.whole), ("sites", thresholds.at_sites))
        for name, each in sorted(known.items())
    ]


def _row(name: str, where: str, each: Threshold, held_out: Any) -> dict[str, Any]:
    low, high = each.cut_interval or (None, None)
    value = None if held_out is None else held_out.balanced_accuracy.value
    return {
        "observation": name,
        "at": where,
        "labels": each.fitted_on,
        "present": each.positives,
        "uncertain_from": round(each.low, 3),
        "present_above": round(each.high, 3),
        "cut_low": None if low is None else round(low, 3),
        "cut_high": None if high is None else round(high, 3),
        "probabilities": each.slope != 0.0,
        "held_out_balanced_accuracy": None if value is None or value != value else round(value, 3),
    }
