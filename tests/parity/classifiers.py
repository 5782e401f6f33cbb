"""Two classifiers that differ in their labels alone, and logistic regression beside each.

One network of ``disc_grading`` with an output for each target learns from the automatic labels, one
from the human gradings: same crops, folds by patient, seeds, order of examples. Scores are those of
discs whose patients were not learned from; each fold's are kept in a file, so that a stopped run
goes on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import numpy as np

from plugin.errors import Permanent
from tests.acceptance.disc_grading import in_folds
from tests.acceptance.learning_loop import Plan, learn, outputs_of
from tests.acceptance.rivals import Floats, Trial, logistic
from tests.acceptance.spider_discs import FOUND_SHAPE, GIVEN_SHAPE, found_crops, given_crops
from tests.parity.gradings import TARGETS, Place, level_of
from training.architectures.disc_grading import DiscGrading
from training.architectures.protocol import Heads
from training.learning.example import Example

HUMAN, AUTOMATIC = "human", "automatic"
SOURCES = (AUTOMATIC, HUMAN)
"""Of labels. Their scores go by these names; those of logistic regression by ``regression_on``."""

HEADS = Heads(TARGETS)
"""Presence alone: notes name no Pfirrmann grade, so the human grades may not teach, either."""

_SHAPES = {"given": GIVEN_SHAPE, "found": FOUND_SHAPE}


def regression_on(source: str) -> str:
    """Return the name of logistic regression's scores."""
    return f"{source}, regression"


@dataclass(frozen=True)
class Crops:
    """Discs with the labels of both sources; targets (discs, targets), NaN where there is none."""

    kind: str
    examples: Sequence[Example]
    targets: Mapping[str, Floats]

    def labelled(self, source: str) -> list[Example]:
        """Return the examples with the labels of one source."""
        return [
            replace(each, presence=dict(zip(TARGETS, map(float, row), strict=True)), severities={})
            for each, row in zip(self.examples, self.targets[source], strict=True)
        ]

    @property
    def patients(self) -> list[str]:
        """Each disc's patient."""
        return [each.patient_key for each in self.examples]


def crops_of(kind: str, folder: Path, labels: Mapping[str, Mapping[Place, bool]]) -> Crops:
    """Return the crops of the five lumbar discs of patients with a note.

    Args:
        kind: "given" (cut by others) or "found" (at the discs that the localiser finds).
        folder: of the data set.
        labels: automatic ones by patient and place.
    """
    examples = given_crops(folder) if kind == "given" else found_crops(folder)[0]
    kept = [e for e in examples if e.patient_key in labels and level_of(e.site)]
    automatic = [
        [float(labels[e.patient_key].get((t, str(level_of(e.site))), np.nan)) for t in TARGETS]
        for e in kept
    ]
    human = [[e.presence[t] for t in TARGETS] for e in kept]
    return Crops(kind, kept, {AUTOMATIC: np.asarray(automatic), HUMAN: np.asarray(human)})


@dataclass(frozen=True)
class Course:
    """How often and how long is learned."""

    seeds: int
    folds: int
    epochs: int


def trial_of(crops: Crops, course: Course, kept: Path) -> Trial:
    """Return all scores beside the human gradings; folds whose scores are kept are not run again.

    Args:
        crops: what is learned from.
        course: seeds, folds, epochs.
        kept: a folder for the scores.

    Raises:
        Permanent: there are fewer patients than folds.
    """
    if len(set(crops.patients)) < course.folds:
        raise Permanent(f"{crops.kind} crops of too few patients for {course.folds} folds")
    folder = kept / f"{crops.kind}-{_digest(crops, course)}"
    folder.mkdir(parents=True, exist_ok=True)
    names = [*SOURCES, *map(regression_on, SOURCES)]
    shape = course.seeds, len(crops.examples), len(TARGETS)
    scores = {name: np.full(shape, np.nan) for name in names}
    for seed in range(course.seeds):
        for fold in range(course.folds):
            path = folder / f"{seed}-{fold}.npz"
            if not path.exists():
                _keep(path, _scores_of(crops, course, seed, fold))
                print(f"  {crops.kind} crops, seed {seed}, fold {fold}: learned", flush=True)
            with np.load(path) as found:
                for name in names:
                    scores[name][seed, found["rows"]] = found[name]
    return Trial(TARGETS, crops.targets[HUMAN], crops.patients, scores)


def _scores_of(crops: Crops, course: Course, seed: int, fold: int) -> dict[str, Floats]:
    architecture = DiscGrading(_SHAPES[crops.kind])
    pixels = np.stack([each.input.ravel() for each in crops.examples]).astype(np.float64)
    found: dict[str, Floats] = {}
    for source in SOURCES:
        parted = in_folds(crops.labelled(source), course.folds, seed)[fold]
        tested = np.asarray([each.fold == "test" for each in parted])
        # The seed is that of the fold, not of the source: both networks begin alike.
        plan = Plan(course.epochs)
        network = learn(architecture, parted, HEADS, plan, seed * 1000 + fold)
        held_out = [each for each in parted if each.fold == "test"]
        found[source] = outputs_of(architecture, network, held_out, HEADS)
        found[regression_on(source)] = logistic(parted, pixels, TARGETS, seed)[tested]
        found["rows"] = np.flatnonzero(tested)
    return found


def _keep(path: Path, scores: Mapping[str, Floats]) -> None:
    """Write scores so that a stop leaves no half of a file."""
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez(file, **scores)
    part.replace(path)


def _digest(crops: Crops, course: Course) -> str:
    sha = hashlib.sha256(repr((astuple(course)[1:], astuple(Plan()))).encode())
    for source in SOURCES:
        sha.update(crops.targets[source].tobytes())
    for each in crops.examples:
        sha.update(f"{each.id} {each.patient_key}\n".encode())
        sha.update(each.input.tobytes())
    return sha.hexdigest()[:16]
