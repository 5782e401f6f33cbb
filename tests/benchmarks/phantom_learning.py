"""How well discs are found on fresh phantoms, and what logistic regression and the network learn.

Run: python -m tests.benchmarks.phantom_learning [patients] [seeds]
"""

from __future__ import annotations

import sys
import time

import numpy as np
from sklearn.metrics import roc_auc_score

from plugin.simulation import phantom
from plugin.simulation.truth import LEVELS, OBSERVATIONS, SpineTruth, draw_truth
from training.baseline import logistic_baseline
from training.disc_crops import cut_crops
from training.discs import search_discs
from training.geometry import Volume, stack_slices
from training.samples import DiscSample, StudyDiscs, study_samples, target_matrix
from training.settings import TrainingSettings
from training.trainer import train

_SHARES = {"train": 0.6, "validation": 0.75}  # of the patients, cumulative; the rest is "test"


def draw(patient: int) -> tuple[SpineTruth, Volume, dict[str, tuple[float, float, float]]]:
    rng = np.random.default_rng([77, patient])
    truth, anatomy = draw_truth(rng), phantom.draw_anatomy(rng)
    scanner = phantom.SCANNERS[patient % len(phantom.SCANNERS)]
    series = phantom.draw_series(truth, scanner, "T2", anatomy, rng)
    volume = stack_slices(
        list(series.pixels.astype(np.float32)),
        [np.asarray(p) for p in series.positions],
        np.asarray(series.orientation),
        series.pixel_spacing,
        series.slice_thickness,
    )
    return truth, volume, phantom.disc_centres(truth, anatomy)


def collect(patients: int) -> list[DiscSample]:
    samples: list[DiscSample] = []
    near = refused = misnumbered = 0
    for patient in range(patients):
        truth, volume, centres = draw(patient)
        search = search_discs(volume)
        refused += not search.locations
        errors = [np.linalg.norm(np.subtract(s.centre, centres[s.level])) for s in search.locations]
        near += sum(e < 5 for e in errors)
        misnumbered += any(e > 15 for e in errors)
        crops, valid = cut_crops(volume, search.locations, LEVELS)
        usable = {s: c for s, c, v in zip(LEVELS, crops, valid, strict=True) if v}
        discs = StudyDiscs(volume, search.locations, usable, {})
        targets = {o: {s: float(truth.present(o, s)) for s in LEVELS} for o in OBSERVATIONS}
        samples += study_samples(discs, str(patient), str(patient), targets, "")
    print(f"discs within 5 mm and at the right level: {near / patients / len(LEVELS):.3f}")
    print(f"studies refused: {refused}, numbered wrongly: {misnumbered}, of {patients}")
    return samples


def split(samples: list[DiscSample], seed: int, noisy: bool) -> list[DiscSample]:
    """Assign folds by patient; noisy: a tenth of the targets missing, a twentieth wrong."""
    rng = np.random.default_rng(seed)
    patients = rng.permutation(sorted({s.patient_key for s in samples}))
    rank = {p: i / len(patients) for i, p in enumerate(patients)}
    assigned = []
    for sample in samples:
        fold = next((f for f, s in _SHARES.items() if rank[sample.patient_key] < s), "test")
        targets = dict(sample.targets)
        if noisy and fold != "test":
            for name, value in targets.items():
                draw = rng.random()
                targets[name] = 1 - value if draw < 0.05 else np.nan if draw < 0.15 else value
        assigned.append(DiscSample("", sample.patient_key, sample.site, sample.crop, targets, fold))
    return assigned


def main(patients: int = 60, seeds: int = 3) -> None:
    samples = collect(patients)
    for noisy in (False, True):
        for seed in range(seeds):
            assigned = split(samples, seed, noisy)
            started = time.monotonic()
            result = train(assigned, OBSERVATIONS, TrainingSettings(seed=seed))
            seconds = time.monotonic() - started
            test = np.asarray([s.fold == "test" for s in assigned])
            truth = target_matrix(assigned, OBSERVATIONS)[test]
            baseline = logistic_baseline(assigned, OBSERVATIONS, seed)[test]
            print(f"{'noisy' if noisy else 'clean'} labels, seed {seed}, {seconds:.0f} s:")
            for i, name in enumerate(OBSERVATIONS):
                figures = [
                    auroc(truth[:, i], s[:, i]) for s in (result.probabilities[test], baseline)
                ]
                print(f"  {name:18} network {figures[0]:.3f}  logistic {figures[1]:.3f}")


def auroc(truth: np.ndarray, scores: np.ndarray) -> float:
    return float(roc_auc_score(truth, scores)) if len(set(truth)) == 2 else float("nan")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
