"""Stage: a labeler reads reference reports in a child, timed, and gets a verdict that is stored."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from labeling.evaluation.agreement import agreement, judgements
from labeling.evaluation.qualification import Criteria, Effort, judge
from labeling.models import Qualification
from labeling.standing import calibration_of
from labeling.thresholds import at_sites, conditions
from plugin.context import Context, Progress
from plugin.stages.evaluate import SAME_LABELS, states_of
from plugin.stages.readings import Wanted, read_now


def qualify_labeler(
    context: Context, wanted: Wanted, criteria: Criteria, folds: int, by: str, progress: Progress
) -> dict[str, Any]:
    """Measure a labeler on readers' reports: accuracy, calibration, speed and memory.

    Observations are judged on whole reports and, apart from that, at their sites.
    The verdict holds for this labeler, model, questions, schema and calibration; where one of them
    changes there is none. Where these labels fitted the thresholds, it rests on cross-validation.

    Returns:
        ``qualified``, ``failings`` (sentences), ``figures`` and ``criteria``.

    Raises:
        Permanent: the labeler cannot be loaded, or readers have labelled no report.
    """
    judged = read_now(context.database.read, context.settings, wanted, progress)
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
    figures = {**verdict.figures, "reports": len(judged.cases), "judged_by": standing.judged_by}
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
    rows = [{"observation": name, **each} for name, each in figures["observations"].items()]
    return {
        "labeler": wanted.labeler,
        "model": judged.model_name or judged.configuration.model_digest[:16],
        "qualified": verdict.qualified,
        "failings": [{"why": each} for each in verdict.failings],
        "observations": rows,
        "figures": {name: each for name, each in figures.items() if name != "observations"},
        "criteria": dict(verdict.criteria),
    }
