"""Simulated lumbar studies as DICOM objects, and a quickly trained classifier that reads them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from plugin.context import Context
from plugin.simulation import phantom
from plugin.simulation.truth import LEVELS, OBSERVATIONS, SpineTruth, draw_truth
from tests.builders import mr_image
from tests.cohort_builders import add_training_run, clock
from tests.phantom_files import write_series
from training.registry import promote, register
from training.samples import DiscSample, read_discs, study_samples
from training.settings import TrainingSettings
from training.trainer import train
from training.weights import save_weights

SCANNER = replace(phantom.SCANNERS[0], slices=7)
MODEL = "simulated-discs"
_SEED = 9
_PATIENTS = 10


def draw(seed: int, scanner: phantom.Scanner = SCANNER) -> tuple[SpineTruth, phantom.PhantomSeries]:
    """Draw a spine and its sagittal T2 series."""
    rng = np.random.default_rng([_SEED, seed])
    truth, anatomy = draw_truth(rng), phantom.draw_anatomy(rng)
    return truth, phantom.draw_series(truth, scanner, "T2", anatomy, rng)


def phantom_study(
    seed: int, scanner: phantom.Scanner = SCANNER, **values: Any
) -> tuple[SpineTruth, list[Dataset]]:
    """Return a drawn spine and the images of its study; ``values`` are those of ``mr_image``."""
    truth, series = draw(seed, scanner)
    return truth, list(images_of(series, scanner, **values))


def images_of(
    series: phantom.PhantomSeries, scanner: phantom.Scanner, **values: Any
) -> Iterator[Dataset]:
    """Yield the images of a drawn series; ``values`` are those of ``mr_image``."""
    for index, position in enumerate(series.positions):
        yield mr_image(
            **{
                "instance": index + 1,
                "SeriesDescription": series.description,
                "BodyPartExamined": "LSPINE",
                "Manufacturer": scanner.manufacturer,
                "ManufacturerModelName": scanner.manufacturer_model_name,
                "Rows": series.pixels.shape[1],
                "Columns": series.pixels.shape[2],
                "PixelSpacing": list(series.pixel_spacing),
                "SliceThickness": series.slice_thickness,
                "SpacingBetweenSlices": series.spacing_between_slices,
                "ImagePositionPatient": [round(v, 6) for v in position],
                "ImageOrientationPatient": [round(v, 8) for v in series.orientation],
                "PixelData": series.pixels[index].tobytes(),
                **values,
            }
        )


def put_to_work(context: Context, observations: tuple[str, ...] = ("disc_narrowing",)) -> None:
    """Train a classifier on a few phantoms for a moment, register and promote it.

    It reads discs and gives probabilities; how good these are is of no matter here.
    """
    settings = TrainingSettings(maximum_epochs=6, batch_size=16, learning_rate=2e-3)
    result = train(_samples(), observations, settings)
    path = context.folder.weights / "new"
    digest = save_weights(path, result, {"cohort": "simulated"})
    path.rename(context.folder.weights / f"{digest}.safetensors")
    with context.database.write() as session:
        register(
            session,
            weights_digest=digest,
            name=MODEL,
            training_run=add_training_run(session),
            operating_points=dict.fromkeys(observations, 0.5),
            uid_source=lambda: "2.25.20",
            decided_by="test",
            clock=clock,
        )
        promote(session, MODEL, decided_by="test", reason="a test", clock=clock)


def _samples() -> list[DiscSample]:
    made = []
    with tempfile.TemporaryDirectory() as folder:
        for patient in range(_PATIENTS):
            rng = np.random.default_rng(patient)
            truth, series = draw(1000 + patient)
            path = Path(folder) / str(patient)
            write_series(path, series, rng)
            fold = "train" if patient < 7 else "validation" if patient < 9 else "test"
            targets = {
                o: {level: float(truth.present(o, level)) for level in LEVELS} for o in OBSERVATIONS
            }
            discs = read_discs(sorted(path.iterdir()), LEVELS)
            made += study_samples(discs, f"1.2.{patient}", str(patient), targets, fold)
    return made
