"""The learning curve of a network, as a PNG file; matplotlib draws without a display."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from dicom_node.durable import write_durably
from training.errors import Transient
from training.learning.state import Epoch


def draw_curves(curve: Sequence[Epoch], best_epoch: int, path: Path, title: str) -> None:
    """Draw losses of training and validation by epoch, and below them the mean AUROC.

    Args:
        curve: of a training.
        best_epoch: whose weights were kept; marked.
        path: of the PNG file; it appears whole or not at all.
        title: says architecture and cohort, and nothing of patients.

    Raises:
        Transient: the disk refused.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    epochs = [each.epoch for each in curve]
    above.plot(epochs, [each.training_loss for each in curve], "o-", markersize=3, label="training")
    above.plot(
        epochs, [each.validation_loss for each in curve], "o-", markersize=3, label="validation"
    )
    above.axvline(best_epoch, color="0.7", linestyle="--", label="weights that were kept")
    above.set_ylabel("loss")
    above.set_title(title, fontsize="medium")
    above.legend(fontsize="small")
    ranked = [(e.epoch, e.validation_auroc) for e in curve if e.validation_auroc is not None]
    if ranked:
        below.plot(*zip(*ranked, strict=True), "o-", markersize=3, color="C2")
    below.axvline(best_epoch, color="0.7", linestyle="--")
    below.set_ylim(0.0, 1.02)
    below.set_ylabel("mean AUROC, validation")
    below.set_xlabel("epoch")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    try:
        write_durably(path, buffer.getvalue())
    except OSError as error:
        raise Transient("the learning curve could not be written") from error
