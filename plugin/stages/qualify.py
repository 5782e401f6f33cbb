"""Stage: a labeler reads reference reports in a child, timed, and gets a verdict that is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from labeling.evaluation.agreement import agreement, judgements
from labeling.evaluation.qualification import Criteria, Effort, Verdict, judge
from labeling.models import Qualification
from labeling.standing import calibration_of
from labeling.thresholds import at_sites, conditions
from plugin.context import Context, Progress
from plugin.errors import Permanent
from plugin.stages.evaluate import SAME_LABELS, states_of
from plugin.stages.judged import Judged
from plugin.stages.readings import Wanted, judged_of, read_now


def qualify_labeler(
    context: Context,
    wanted: Wanted,
    criteria: Criteria,
    folds: int,
    by: str,
    progress: Progress,
    *,
    timed: int = 0,
) -> dict[str, Any]:
    """Measure a labeler on readers' reports: accuracy, calibration, speed and memory.

    Observations are judged on whole reports and, apart from that, at their sites.
    The verdict holds for this labeler, model, questions, schema and calibration; where one of them
    changes there is none. Where these labels fitted the thresholds, it rests on cross-validation.

    Args:
        context: of the node; the verdict is stored there.
        wanted: which labeler, and which reports.
        criteria: what it must reach.
        folds: for cross-validation where thresholds were fitted on these labels; 0: never.
        by: who asks, for the record.
        progress: takes lines while reports are read.
        timed: read only so many of the node's reports again, of all lengths, the longest among
            them, to see what it costs, and judge by the labels that are stored; 0: read all again.

    Returns:
        ``qualified``, ``failings`` (sentences), ``figures`` and ``criteria``.

    Raises:
        Permanent: the labeler cannot be loaded, readers have labelled no report, or stored labels
            are to judge that are incomplete or of another configuration, or no readers' label was
            sampled, blinded and adjudicated and nobody accepted that.
    """
    judged = _judged(context, wanted.to("qualify"), timed, progress)
    with context.database.read() as session:
        standing = states_of(session, judged, folds)
        calibration = calibration_of(session, judged.configuration)
    whole = agreement(judgements(standing.cases))
    sites = agreement(judgements(standing.cases, at_sites=True))
    effort = judged.effort or Effort(0, 0.0, 0)
    verdict = judge(
        whole | {at_sites(name): each for name, each in sites.items()},
        effort,
        criteria,
        calibrated=standing.calibrated,
        observations=conditions(judged.schema),
        held_out=standing.judged_by != SAME_LABELS,
    )
    figures = {
        **verdict.figures,
        "reports": len(judged.cases),
        "judged_by": standing.judged_by,
        "rests_on": judged.called,
        "labels_left_out": judged.left_out,
        **judged.rests_on,
    }
    with context.database.write() as session:
        session.add(
            Qualification(
                **asdict(judged.configuration),
                calibration_digest="" if calibration is None else calibration.digest,
                qualified=verdict.qualified,
                figures=figures,
                criteria=dict(verdict.criteria),
                failings=list(verdict.failings),
                measured_by=by,
                measured_at=context.clock(),
            )
        )
    return _told(judged, verdict, figures)


def _told(judged: Judged, verdict: Verdict, figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return a verdict as a command shows it."""
    rows = [{"observation": name, **each} for name, each in figures["observations"].items()]
    return {
        "labeler": judged.configuration.labeler,
        "model": judged.model_name or judged.configuration.model_digest[:16],
        "qualified": verdict.qualified,
        "failings": [{"why": each} for each in verdict.failings],
        "observations": rows,
        "figures": {name: each for name, each in figures.items() if name != "observations"},
        "criteria": dict(verdict.criteria),
    }


def _judged(context: Context, wanted: Wanted, timed: int, progress: Progress) -> Judged:
    read, settings = context.database.read, context.settings
    if not timed:
        return read_now(read, settings, wanted, progress)
    if wanted.reports is not None:
        raise Permanent("--timed is of the node's stored labels; those of a file are all read")
    stored = judged_of(read, settings, wanted, progress)
    if stored.unread:
        raise Permanent(
            f"{stored.unread} of {stored.unread + len(stored.cases)} reports that readers labelled "
            f"have no stored labels: radloop label --labeler {wanted.labeler} first"
        )
    again = read_now(read, settings, wanted, progress, most=timed + 1)  # the first is not timed
    if again.configuration != stored.configuration:
        raise Permanent(
            f"the stored labels are of another model, other questions or another schema: "
            f"radloop label --labeler {wanted.labeler} first"
        )
    if again.calibration_digest != stored.calibration_digest:
        raise Permanent(
            f"the stored labels were read by other thresholds than hold now: radloop label "
            f"--labeler {wanted.labeler} first"
        )
    return replace(stored, effort=again.effort)
