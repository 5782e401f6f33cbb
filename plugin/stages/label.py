"""Stage: reports that have no label yet are read by a labeler, in a child process.

A labeler measures; ``labeling.decision`` turns margins into states by the calibration that holds.
After a new calibration the stored margins are decided anew, and only reports for which that cannot
be done are read again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from dicom_node.database import chunks
from labeling.decision import decide, redecide
from labeling.disagreements import newest_runs, note_disagreements
from labeling.failures import FailureCount
from labeling.labeler import LabelResult, checked
from labeling.models import Label, LabelingRun
from labeling.runs import (
    LabelerIdentity,
    anything_readable,
    open_run,
    reports_without_labels,
    result_of_label,
    store_labels,
    texts_of,
    unread_reports,
)
from labeling.standing import (
    calibration_of,
    configuration_of,
    newest_run,
    put_in_force,
    qualification_of,
    thresholds_of,
    thresholds_with,
)
from labeling.thresholds import Thresholds
from labeling.vocabulary import LabelSchema
from plugin.context import Context, Progress
from plugin.errors import Permanent
from plugin.labeler_children import labeler_children
from plugin.rate import Rate

_COMMIT_SECONDS = 1.0


@dataclass
class _Reading:
    """One call of ``label_reports``: what it stores into, and what it has done so far."""

    context: Context
    run: LabelingRun
    others: list[LabelingRun]
    schema: LabelSchema
    thresholds: Thresholds
    rate: Rate
    provisional: set[int] = field(default_factory=set)
    reports: int = 0
    labels: int = 0
    early: int = 0
    failures: FailureCount = field(default_factory=FailureCount)
    disagreements: int = 0


def label_reports(context: Context, labeler: str, progress: Progress) -> dict[str, Any]:
    """Label every current report that this labeler has not read; resumable at any point.

    Returns:
        ``run`` (id), ``labeler``, and the numbers of this call: ``reports``, ``labels``,
        ``decided_again`` (by a new calibration, without reading), ``failed`` (reports without
        any label), ``provisional`` (reports that are not final yet), ``disagreements``;
        ``failures`` tells why labels failed, with how many; ``calibrated`` whether thresholds were
        fitted for this configuration, ``uncalibrated`` for which observations they were not, and
        ``qualified`` whether a verdict lets the labels into cohorts.

    Raises:
        Permanent: the labeler is not named in the settings or cannot be loaded.
    """
    settings = context.settings.labeling
    if labeler not in settings.labelers:
        known = ", ".join(settings.labelers)
        raise Permanent(f"labeler {labeler!r} is not in the settings (labeling.labelers: {known})")
    log, models = context.folder.child_log, context.folder.language_models
    with labeler_children(log, labeler, settings, models) as reader:
        reading, waiting = _begin(context, reader.identify(progress), progress)
        waiting = _without_decided(reading, waiting)
        again = reading.reports
        reader.heed(reading.thresholds)
        for some in chunks(waiting, reader.at_once):
            chunk = _texts(context, some)
            _read(reading, reader.read(chunk, progress), dict(chunk))
    return {
        "run": reading.run.id,
        "labeler": labeler,
        "reports": reading.reports,
        "labels": reading.labels,
        "decided_again": again,
        "failed": reading.failures.reports,
        "failures": reading.failures.rows(),
        "provisional": reading.early,
        "disagreements": reading.disagreements,
        "calibrated": bool(reading.run.calibration_digest),
        "uncalibrated": list(reading.thresholds.unfitted(reading.schema)),
        "qualified": _is_qualified(reading),
    }


def _is_qualified(reading: _Reading) -> bool:
    run = reading.run
    with reading.context.database.read() as session:
        verdict = qualification_of(session, configuration_of(run), run.calibration_digest)
    return verdict is not None and verdict.qualified


def anything_unread(session: Session, labeler: str) -> bool:
    """Tell whether a report waits for the labeler's newest run, without starting a child."""
    run = newest_run(session, labeler)
    if run is None:
        return anything_readable(session)
    calibration = calibration_of(session, configuration_of(run))
    if calibration is not None and calibration.digest != run.calibration_digest:
        return True
    return bool(reports_without_labels(session, run, limit=1))


def _begin(
    context: Context, identity: LabelerIdentity, progress: Progress
) -> tuple[_Reading, list[int]]:
    schema = context.schema()
    with context.database.write() as session:
        bare = open_run(session, identity, schema, context.clock)
        thresholds = thresholds_of(session, configuration_of(bare))
        run = bare
        if thresholds.digest:
            run = open_run(session, identity, schema, context.clock, thresholds.digest)
        put_in_force(session, run, context.clock)
    # Nobody waits for the lock of writing while a long list is made.
    with context.database.read() as session:
        waiting = unread_reports(session, run)
        reading = _Reading(
            context,
            run,
            newest_runs(session, run),
            schema,
            thresholds,
            Rate(identity.name, len(waiting), progress, time.monotonic),
            {report_id for report_id, provisional in waiting if provisional},
        )
    return reading, [report_id for report_id, _ in waiting]


def _without_decided(reading: _Reading, waiting: list[int]) -> list[int]:
    """Decide stored margins of an earlier calibration anew; return the reports left to read."""
    if not _siblings(reading):
        return waiting
    left = []
    for some in chunks(waiting, 256):
        with reading.context.database.write() as session:
            for report_id in some:
                decided = _decided_again(session, reading, report_id)
                if decided is None:
                    left.append(report_id)
                else:
                    _store(session, reading, report_id, decided)
    return left


def _siblings(reading: _Reading) -> bool:
    """Tell whether another run has asked the same questions, so that its margins may be there."""
    with reading.context.database.read() as session:
        return session.exec(_same_questions(reading.run).limit(1)).first() is not None


def _same_questions(run: LabelingRun) -> SelectOfScalar[LabelingRun]:
    """Select the other runs that differ in nothing but the calibration; the newest first."""
    return (
        select(LabelingRun)
        .where(
            LabelingRun.labeler == run.labeler,
            LabelingRun.schema_digest == run.schema_digest,
            LabelingRun.model_digest == run.model_digest,
            LabelingRun.question_digest == run.question_digest,
            LabelingRun.id != run.id,
        )
        .order_by(col(LabelingRun.id).desc())
    )


def _decided_again(session: Session, reading: _Reading, report_id: int) -> list[LabelResult] | None:
    """Decide anew what the newest other run of the same questions has measured of a report.

    Returns:
        None where there is none, or it does not suffice.
    """
    siblings = (
        _same_questions(reading.run)
        .join(Label, col(LabelingRun.id) == col(Label.run_id))
        .where(Label.report_id == report_id)
        .limit(1)
    )
    newest = session.exec(siblings).first()
    if newest is None:
        return None
    rows = select(Label).where(Label.run_id == newest.id, Label.report_id == report_id)
    earlier = [result_of_label(each) for each in session.exec(rows.order_by(col(Label.id)))]
    before = thresholds_with(session, newest.calibration_digest)
    return redecide(earlier, reading.schema, reading.thresholds, before)


def _read(
    reading: _Reading, answers: Iterator[tuple[int, list[LabelResult]]], texts: dict[int, str]
) -> None:
    """Store what comes about once a second, whole reports only."""
    for group in _groups(answers):
        with reading.context.database.write() as session:
            for report_id, results in group:
                decided = decide(results, reading.schema, reading.thresholds)
                checked(decided, reading.schema, texts[report_id])
                _store(session, reading, report_id, decided)


def _groups(answers: Iterator[Any]) -> Iterator[list[Any]]:
    """Yield answers in groups: a commit for each would cost more than a fast labeler's reading."""
    group, begun = [], time.monotonic()
    for answer in answers:
        group.append(answer)
        if time.monotonic() - begun >= _COMMIT_SECONDS:
            yield group
            group, begun = [], time.monotonic()
    if group:
        yield group


def _store(
    session: Session, reading: _Reading, report_id: int, results: Sequence[LabelResult]
) -> None:
    stored = store_labels(session, reading.run, report_id, results, reading.context.clock)
    reading.rate.done()
    # Nothing is stored where another version became current meanwhile.
    if not stored:
        return
    reading.reports += 1
    reading.labels += stored
    reading.early += report_id in reading.provisional
    reading.failures.add(results)
    reading.disagreements += note_disagreements(
        session, reading.run, reading.others, report_id, results, reading.context.clock
    )


def _texts(context: Context, report_ids: list[int]) -> list[tuple[int, str]]:
    with context.database.read() as session:
        return texts_of(session, report_ids)
