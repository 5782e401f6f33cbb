"""Disc grading on real lumbar discs with human gradings, beside logistic regression.

    python -m tests.acceptance.disc_grading [--seeds 5] [--folds 5] [--epochs 30]
        [--found-epochs 15] [--towers 1] [--only given|found] [--out FILE.json]

First on crops that others cut (542 discs of 68 patients), then on crops at the discs that our own
localiser finds in all T1 and T2 slices. Folds are by patient, drawn anew for each seed, and lie
within the training part of SPIDER; the figures are of discs whose patients were not learned from.
``pixels`` is ``training.baseline`` on the same crops, ``features`` the same on the fixed features
of the architecture. Prints a table for each and ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.acceptance.learning_loop import Plan, learn, outputs_of
from tests.acceptance.rivals import Floats, Trial, json_of, lines_of, logistic
from tests.acceptance.spider_discs import (
    FOUND_SHAPE,
    GIVEN_SHAPE,
    OBSERVATIONS,
    PFIRRMANN,
    found_crops,
    given_crops,
)
from tests.shared_data import shared_file
from training.architectures.disc_grading import DiscGrading
from training.architectures.protocol import Heads
from training.learning.example import Example

HEADS = Heads(OBSERVATIONS, severities={"disc_degeneration": PFIRRMANN})
METHODS = ("disc_grading", "pixels", "features")
_FOLDER = "data/spider_lumbar_png"


def in_folds(examples: Sequence[Example], folds: int, seed: int) -> list[list[Example]]:
    """Return the examples once for each fold, which is "test" there and the rest "train"."""
    patients = sorted({each.patient_key for each in examples})
    drawn = np.random.default_rng([seed, 20260]).permutation(len(patients))
    place = {patient: int(rank) % folds for patient, rank in zip(patients, drawn, strict=True)}
    return [
        [replace(e, fold="test" if place[e.patient_key] == fold else "train") for e in examples]
        for fold in range(folds)
    ]


def trial_of(
    examples: Sequence[Example], architecture: DiscGrading, plan: Plan, options: argparse.Namespace
) -> Trial:
    """Return what each method says of each disc that it did not learn from, seed by seed."""
    scores = {
        method: np.full((options.seeds, len(examples), len(OBSERVATIONS)), np.nan)
        for method in METHODS
    }
    features = architecture.features(examples).numpy().astype(np.float64)
    pixels = np.stack([each.input.ravel() for each in examples]).astype(np.float64)
    for seed in range(options.seeds):
        for fold, parted in enumerate(in_folds(examples, options.folds, seed)):
            held_out = np.asarray([each.fold == "test" for each in parted])
            tested = [each for each in parted if each.fold == "test"]
            network = learn(architecture, parted, HEADS, plan, seed * 1000 + fold)
            scores["disc_grading"][seed, held_out] = outputs_of(
                architecture, network, tested, HEADS
            )
            for method, given in (("pixels", pixels), ("features", features)):
                found = logistic(parted, given, OBSERVATIONS, seed)
                scores[method][seed, held_out] = found[held_out]
            print(f"  seed {seed}, fold {fold}: learned", flush=True)
    return Trial(OBSERVATIONS, _targets(examples), [e.patient_key for e in examples], scores)


def _targets(examples: Sequence[Example]) -> Floats:
    return np.asarray([[each.presence[name] for name in OBSERVATIONS] for each in examples])


def measure(name: str, trial: Trial, about: dict[str, Any]) -> dict[str, Any]:
    """Print the table of a trial; return it as values of JSON."""
    print(f"{name}: {len(trial.patients)} discs, {len(set(trial.patients))} patients, {about}")
    print("\n".join(lines_of(trial, METHODS[0])))
    lows = [trial.ahead("disc_grading", "pixels", each).low for each in OBSERVATIONS]
    aim = {"all_above_-0.02": min(lows) > -0.02, "two_above_0": sum(low > 0 for low in lows) >= 2}
    print(f"paired lower bounds against logistic regression on pixels: {aim}\n", flush=True)
    return {**about, "figures": json_of(trial, METHODS[0]), "aim": aim}


def options_of(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--found-epochs", type=int, default=15)
    parser.add_argument("--towers", type=int, default=1)
    parser.add_argument("--only", choices=("given", "found"))
    parser.add_argument("--out", type=Path, help="the line of JSON goes here, too")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure on given crops and on found discs."""
    options = options_of(arguments)
    folder = shared_file(_FOLDER)
    found: dict[str, Any] = {}
    if options.only != "found":
        architecture = DiscGrading(GIVEN_SHAPE, options.towers)
        trial = trial_of(given_crops(folder), architecture, Plan(options.epochs), options)
        found["given"] = measure("given crops", trial, {})
    if options.only != "given":
        architecture = DiscGrading(FOUND_SHAPE, options.towers)
        examples, slices = found_crops(folder)
        trial = trial_of(examples, architecture, Plan(options.found_epochs), options)
        found["found"] = measure("discs that were found", trial, slices)
    run = {name: getattr(options, name) for name in ("seeds", "folds", "epochs", "found_epochs")}
    line = json.dumps({"data": "SPIDER, training part", **run, **found})
    if options.out:
        options.out.write_text(line + "\n", encoding="utf-8")
    print(line)


if __name__ == "__main__":
    main()
