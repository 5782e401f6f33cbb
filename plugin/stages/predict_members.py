"""A registered model predicts studies of a cohort for an evaluation; nothing is stored or sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dicom_node.storage import DicomStore
from plugin.child import ChildProcess
from plugin.context import Context, Progress
from plugin.errors import Permanent
from training.evaluation.plan import Said
from training.models import Cohort, Model, TrainingRun
from training.selection import SeriesRule
from training.series import analysed_images
from training.targets import Place


def predict_members(
    context: Context, cohort: Cohort, model: Model, studies: Sequence[str], progress: Progress
) -> Said:
    """Return what a model says of studies of a cohort, read as for its training.

    Args:
        context: the open node.
        cohort: says which series is looked at.
        model: a registered one.
        studies: Study Instance UIDs.
        progress: told one line at a time.

    Raises:
        Permanent: a study has no series that fits, or the weights cannot be used.
        ChildFailed: the child process died.
    """
    found: dict[str, Mapping[Place, float | None]] = {}
    settings = context.settings.training
    jobs = _jobs(context, cohort, model, studies)
    with ChildProcess(context.folder.child_log, settings.threads) as child:
        for number, (uid, job) in enumerate(jobs.items(), start=1):
            progress(f"{model.reference}: study {number} of {len(jobs)}")
            rows = child.run("predict", job, progress)
            found[uid] = {(row["observation"], row["site"]): row["probability"] for row in rows}
    return found


def _jobs(
    context: Context, cohort: Cohort, model: Model, studies: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Return by study what the child is asked; files and names of observations, no more."""
    store, schema = DicomStore(context.folder.root), context.schema()
    with context.database.read() as session:
        run = session.get_one(TrainingRun, model.training_run_id)
        images = analysed_images(session, studies, SeriesRule.of_record(cohort.query))
    if missing := len(set(studies) - images.keys()):
        raise Permanent(f"{missing} studies have lost the series that they were chosen for")
    architecture = run.metrics.get("architecture", {}).get("name", "")
    settings = context.settings.training
    common = {
        "weights": str(context.folder.weights / f"{model.weights_digest}.safetensors"),
        "weights_digest": model.weights_digest,
        "classifier": settings.classifier if architecture else run.classifier,
        "architecture": architecture,
        "disc_localiser": settings.disc_localiser,
        "threads": settings.threads,
        "observations": [each.id for each in schema.observations],
        "sites": [site.id for site in schema.sites],
    }
    return {
        uid: {**common, "files": [str(store.path(digest)) for digest in images[uid]]}
        for uid in studies
    }
