"""Labels of files beside what is known of the reports: figures and thresholds without a node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dicom_node.durable import write_durably
from labeling.decision import measured
from labeling.evaluation.agreement import agreement
from labeling.evaluation.calibration import FitRule, cross_fitted
from labeling.evaluation.cases import Case
from labeling.labels_file import FileLabels, fitted_for, read_labels
from labeling.thresholds import UNCALIBRATED, to_file
from labeling.truth_file import FileTruth, read_truth
from labeling.vocabulary import LabelSchema
from plugin.errors import Permanent
from plugin.score_rows import (
    SITES,
    WHOLE,
    confusions,
    differences,
    evidence_rows,
    figure_rows,
    in_order,
    judgements_at,
    means,
    site_rows,
)
from plugin.stages.basis import AGREEMENT
from plugin.stages.calibrate import fitted, threshold_rows

FEW = 5
"""Positives or negatives below which a figure says little."""

_GENERATED = "agreement with what generated reports say: nobody wrote them"
_NOT_CALIBRATED = (
    "uncalibrated: the labeler's own states, for a language model the cut at margin 0 or the band "
    "of its adapter; AUROC needs no cut"
)
_NOT_NOTED = "states as the file has them; nobody noted whether thresholds decided them"


@dataclass(frozen=True)
class ScoreJob:
    """What is judged by what.

    Args:
        labels: files of ``radloop label --output``; the others stand beside the first.
        truth: readers' labels, or generated reports with theirs.
        schema: of all of them.
        folds: decide each report by thresholds fitted on other patients' folds; 0: states as in
            the files.
        resamples: bootstrap samples; 0: no intervals.
        each_site: give figures of each site, too.
    """

    labels: tuple[Path, ...]
    truth: Path
    schema: LabelSchema
    folds: int = 0
    resamples: int = 1000
    each_site: bool = False


def score(job: ScoreJob) -> dict[str, Any]:
    """Return how files of labels agree with what is known of the same reports.

    All files are judged on the reports that all of them have.

    Returns:
        ``schema``, ``truth``, ``readers``, ``reports``, ``patients``, ``called`` (what figures on
        this truth are), ``judged_by`` (by labeler),
        ``figures`` (a row for each observation, whole and at its sites, and labeler), ``means``,
        ``differences`` (the first file and each other, paired), ``each_site``, ``evidence``,
        ``confusion``, ``missing`` (ids by file that have no labels there), ``without_truth`` (ids
        that only files of labels have) and ``cautions``.

    Raises:
        Permanent: a file cannot be used, is of another schema, or no report is in all of them.
    """
    truth = read_truth(job.truth, job.schema)
    files = _named([read_labels(each, job.schema) for each in job.labels])
    judged = _judged(truth, files)
    cases = {name: _decided(judged[name], each, job) for name, each in files.items()}
    said = {
        name: {at: judgements_at(own, at) for at in (WHOLE, SITES)} for name, own in cases.items()
    }
    figures = {
        (at, name): agreement(own[at], resamples=job.resamples)
        for at in (WHOLE, SITES)
        for name, own in said.items()
    }
    rows = in_order(figure_rows(figures), job.schema)
    labelled = {name: each.results.keys() for name, each in files.items()}
    missing = {name: sorted(truth.reports.keys() - ids) for name, ids in labelled.items()}
    return {
        "schema": job.schema.name,
        "truth": truth.name,
        "readers": list(truth.readers),
        "reports": len(next(iter(judged.values()))),
        "patients": len({each.patient for each in next(iter(judged.values()))}),
        "called": _GENERATED if truth.generated else AGREEMENT,
        "judged_by": {name: _judged_by(each, job.folds) for name, each in files.items()},
        "intervals": f"95 %, {job.resamples} bootstrap samples" if job.resamples else "none",
        "figures": rows,
        "means": list(means(rows)),
        "differences": in_order(differences(said, job.resamples), job.schema),
        "each_site": list(site_rows(cases, job.schema, job.resamples)) if job.each_site else [],
        "evidence": list(evidence_rows(cases)),
        "confusion": list(confusions(figures)),
        "missing": {name: ids for name, ids in missing.items() if ids},
        "without_truth": sorted(set().union(*labelled.values()) - truth.reports.keys()),
        "cautions": list(_cautions(truth, files, rows, missing, job)),
    }


def fit(
    labels: Path,
    truth: Path,
    schema: LabelSchema,
    rule: FitRule,
    folds: int,
    output: Path,
    *,
    accept_unsampled: bool = False,
) -> dict[str, Any]:
    """Fit thresholds on a file of labels and write them for ``radloop label --thresholds``.

    What readers say in a file is of no stored sample, so a person has to accept it; what generated
    reports say is known.

    Returns:
        ``labeler``, ``reports``, ``digest``, ``thresholds`` (a row for each condition),
        ``cautions`` and ``output``.

    Raises:
        Permanent: a file cannot be used, thresholds decided the labels already, or what is known
            is too little for every condition, or it is of readers and nobody accepted that.
    """
    own, known = read_labels(labels, schema), read_truth(truth, schema)
    holds_for = fitted_for(own)
    _refuse_decided(own, "thresholds are fitted on labels that none decided")
    if not (known.generated or accept_unsampled):
        raise Permanent(
            "readers' labels of a file are of no stored sample, so they calibrate nothing: in a "
            "node `radloop reference sample --reports` draws one; or --accept-unsampled"
        )
    [judged] = _judged(known, {own.name: own}).values()
    cases = _bare(judged)
    thresholds = fitted(cases, rule, own.labeler)
    rows = threshold_rows(cases, schema, thresholds, rule, folds, UNCALIBRATED)
    write_durably(output, to_file(thresholds, holds_for).encode())
    return {
        "labeler": own.labeler,
        "reports": len(cases),
        "rests_on": _GENERATED if known.generated else AGREEMENT,
        "digest": thresholds.digest,
        "thresholds": rows,
        "cautions": list(_fit_cautions(known, own, rows)),
        "output": str(output),
        "next": f"radloop label --reports FILE --thresholds {output}, on other reports than these",
    }


def _refuse_decided(labels: FileLabels, why: str) -> None:
    if labels.calibration_digest:
        raise Permanent(
            f"{labels.name}: thresholds decided these labels; {why}: label again without "
            "--thresholds"
        )


def _named(files: Sequence[FileLabels]) -> dict[str, FileLabels]:
    """Return files by labeler where that tells them apart, else by the name of the file."""
    by_labeler = {each.labeler: each for each in files}
    named = by_labeler if "" not in by_labeler else {each.name: each for each in files}
    if len(named) < len(files):
        named = {each.name: each for each in files}
    if len(named) < len(files):
        raise Permanent("two files of labels have one name: rename one of them")
    return named


def _judged(truth: FileTruth, files: Mapping[str, FileLabels]) -> dict[str, list[Case]]:
    """Return by file the cases of the reports that all files have, in one order."""
    known = {name for name, each in truth.reports.items() if each.references}
    common = sorted(known.intersection(*(each.results.keys() for each in files.values())))
    if not common:
        counts = ", ".join(f"{len(each.results)} in {each.name}" for each in files.values())
        raise Permanent(
            f"no report is in all files: {len(known)} with known labels in {truth.name}, {counts}; "
            "an id is compared letter by letter"
        )
    return {
        name: [
            Case(
                report,
                truth.reports[report].patient,
                each.results[report],
                truth.reports[report].references,
            )
            for report in common
        ]
        for name, each in files.items()
    }


def _decided(cases: list[Case], labels: FileLabels, job: ScoreJob) -> list[Case]:
    if job.folds < 2:
        return cases
    _refuse_decided(labels, "folds decide anew")
    return cross_fitted(_bare(cases), job.schema, folds=job.folds, sought=UNCALIBRATED)


def _bare(cases: Iterable[Case]) -> list[Case]:
    """Return the cases without what the decision added to the labeler's own measurements."""
    return [replace(each, results=tuple(map(measured, each.results))) for each in cases]


def _judged_by(labels: FileLabels, folds: int) -> str:
    if folds > 1:
        return f"{folds}-fold cross-validation by patient: thresholds of the other folds"
    if not labels.run:
        return _NOT_NOTED
    if not labels.calibration_digest:
        return _NOT_CALIBRATED
    return (
        f"thresholds {labels.calibration_digest[:12]}: the figures are held out only where these "
        "were fitted on other reports"
    )


def _cautions(
    truth: FileTruth,
    files: Mapping[str, FileLabels],
    rows: Sequence[Mapping[str, Any]],
    missing: Mapping[str, Sequence[str]],
    job: ScoreJob,
) -> Iterator[str]:
    for name, ids in missing.items():
        if ids:
            yield f"{len(ids)} of {len(truth.reports)} reports have no labels of {name}: left out"
    yield from _of_other_texts(truth, files)
    if truth.generated:
        yield "the reports are generated: the figures say nothing of how real ones are read"
    elif not truth.names_patients:
        yield (
            "the file does not say whose the reports are: each counts as a patient of its own, so "
            "intervals are too narrow where patients have several"
        )
    if truth.disputed:
        yield f"{truth.disputed} labels on which readers disagree are left out"
    for name, each in files.items():
        if job.folds < 2 and not each.calibration_digest:
            kind = "uncalibrated" if each.run else "perhaps uncalibrated"
            yield (
                f"{name} is {kind}: its decisions (all but AUROC) may change with thresholds "
                "(--folds 5, or radloop labeler calibrate --labels)"
            )
    if len({each.run.get("reports_sha256", "") for each in files.values()}) > 1:
        yield "the files of labels were made of different files of reports: mind their ids"
    if few := _few(rows):
        yield f"fewer than {FEW} with or without it, figures say little: {', '.join(few)}"


def _of_other_texts(truth: FileTruth, files: Mapping[str, FileLabels]) -> Iterator[str]:
    for name, each in files.items():
        read = each.run.get("reports_sha256", "")
        if truth.texts_sha256 and read and read != truth.texts_sha256:
            yield (
                f"{name} did not read the reports of {truth.name} but another file: where ids "
                "agree by chance, labels are held against the truth of other reports"
            )


def _fit_cautions(
    truth: FileTruth, labels: FileLabels, rows: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    yield from _of_other_texts(truth, {labels.name: labels})
    if truth.generated:
        yield "the reports are generated: thresholds for real ones need labels by readers"
    sites = {WHOLE: "", SITES: " at its sites"}
    few = [row["observation"] + sites[row["at"]] for row in rows if row["present"] < FEW]
    if few:
        yield f"fewer than {FEW} positives, a cut is a guess: {', '.join(few)}"


def _few(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    names = (
        row["observation"] + (" at its sites" if row["at"] == SITES else "")
        for row in rows
        if min(row["present"], row["n"] - row["present"]) < FEW
    )
    return list(dict.fromkeys(names))
