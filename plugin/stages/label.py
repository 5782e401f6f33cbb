"""Stage: reports that have no label yet are read by a labeler, in a child process."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session, col, select

from dicom_node.reports.queries import current_reports
from labeling.labeler import result_of
from labeling.models import LabelingRun
from labeling.runs import (
    PROVISIONAL,
    LabelerIdentity,
    open_run,
    reports_without_labels,
    store_labels,
)
from plugin.child import ChildProcess
from plugin.context import Context, Progress
from plugin.errors import Permanent

_REPORTS_A_JOB = 8


def label_reports(context: Context, labeler: str, progress: Progress) -> dict[str, Any]:
    """Label every current report that this labeler has not read; resumable at any point.

    Returns:
        ``run`` (id), ``labeler``, ``reports``, ``labels`` and ``provisional`` (numbers of this
        call; provisional are reports that are not final yet).

    Raises:
        Permanent: the labeler is not named in the settings or cannot be loaded.
    """
    settings = context.settings.labeling
    if labeler not in settings.labelers:
        known = ", ".join(settings.labelers)
        raise Permanent(f"labeler {labeler!r} is not in the settings (labeling.labelers: {known})")
    with ChildProcess(context.folder.child_log, settings.language_model.threads) as child:
        setup = _setup(context, labeler)
        (identity,) = child.run("identify_labeler", setup, progress)
        with context.database.write() as session:
            who = LabelerIdentity(labeler, **identity)
            run = open_run(session, who, context.schema(), context.clock)
            unread = reports_without_labels(session, run)
            waiting = [(each.id, each.text) for each in unread]
            provisional = {each.id for each in unread if each.result_status in PROVISIONAL}
        done = labels = early = 0
        for start in range(0, len(waiting), _REPORTS_A_JOB):
            chunk = waiting[start : start + _REPORTS_A_JOB]
            job = {**setup, "reports": chunk}
            for report_id, results in child.run("label", job, progress):
                with context.database.write() as session:
                    stored = _store(context, session, run, report_id, results)
                # Nothing is stored where another version became current meanwhile.
                done, labels = done + bool(stored), labels + stored
                early += bool(stored) and report_id in provisional
                progress(f"{labeler}: {done} of {len(waiting)} reports")
    return {
        "run": run.id,
        "labeler": labeler,
        "reports": done,
        "labels": labels,
        "provisional": early,
    }


def anything_unread(session: Session, labeler: str) -> bool:
    """Tell whether a report waits for the labeler's newest run, without starting a child."""
    run = session.exec(
        select(LabelingRun)
        .where(LabelingRun.labeler == labeler)
        .order_by(col(LabelingRun.id).desc())
    ).first()
    if run is None:
        return bool(current_reports(session))
    return bool(reports_without_labels(session, run, limit=1))


def _setup(context: Context, labeler: str) -> dict[str, Any]:
    return {
        "labeler": labeler,
        "settings": context.settings.labeling.model_dump(mode="json"),
        "model_store": str(context.folder.language_models),
    }


def _store(
    context: Context,
    session: Session,
    run: LabelingRun,
    report_id: int,
    rows: list[dict[str, Any]],
) -> int:
    results = [result_of(row) for row in rows]
    return store_labels(session, run, report_id, results, context.clock)
