"""Stage: the weights of a model are loaded, in a child process, before anybody puts it to work."""

from __future__ import annotations

from plugin.child import ChildProcess
from plugin.context import Context
from plugin.errors import ChildFailed, Permanent
from training.errors import TrainingError
from training.models import Model, TrainingRun


def check_weights(context: Context, model: Model, run: TrainingRun) -> str:
    """Return what the weights of a model lack of a domain ("" where nothing); see the task.

    Raises:
        Permanent: the file is gone or another one, or does not fit what the registry and this
            program say of the model.
    """
    settings = context.settings.training
    schema = context.schema()
    job = {
        "weights": str(context.folder.weights / f"{model.weights_digest}.safetensors"),
        "weights_digest": model.weights_digest,
        "classifier": settings.classifier,
        "architecture": run.metrics.get("architecture", {}).get("name", ""),
        "disc_localiser": settings.disc_localiser,
        "threads": settings.threads,
        "observations": sorted(model.operating_points),
        "sites": [site.id for site in schema.sites],
    }
    try:
        with ChildProcess(context.folder.child_log, settings.threads) as child:
            (lacks,) = child.run("check_weights", job, _mute)
    except (Permanent, TrainingError, ChildFailed) as error:
        name = model.reference
        raise Permanent(f"the weights of {name} cannot be used: {error}") from error
    return str(lacks)


def _mute(_: str) -> None:
    """Loading weights is too short for progress."""
