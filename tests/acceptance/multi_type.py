"""What soft targets, locations and severities add, on SIMULATED chests with an unsure reader.

    python -m tests.acceptance.multi_type [--patients 600] [--tested 600] [--unsure 0.4]
        [--seeds 5] [--epochs 30] [--location-weight 0.1] [--severity-weight 0.1] [--out FILE.json]

The reader is unsure at the given rate and gives a probability then; ``hard`` rounds it to yes or
no, ``soft`` learns from it as it is, ``location`` and ``severity`` add those heads one after the
other. All learn from the same pictures with the same seeds and are tested against the truth of
other pictures. ``features`` is logistic regression on fixed features and the rounded labels.
Prints a table and ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from plugin.simulation.chest_phantom import (
    LOCATIONS,
    OBSERVATIONS,
    STEPS,
    ChestTruth,
    draw_chest,
    report_of,
)
from tests.acceptance.learning_loop import Plan, learn, outputs_of
from tests.acceptance.readings import table
from tests.acceptance.rivals import Trial, json_of, lines_of, logistic
from training.architectures.heads import location_columns
from training.architectures.multi_type import MultiType
from training.architectures.protocol import Heads
from training.learning.example import Example

ARMS = ("hard", "soft", "location", "severity")
_STEPS_OF_ABLATION = (("soft", "hard"), ("location", "soft"), ("severity", "location"))


def draw_examples(patients: int, tested: int, unsure: float) -> tuple[list[Example], list[str]]:
    """Draw pictures with reports to learn from and pictures with their truth to test on.

    Returns:
        The examples, and how the reader's rounded labels of the first kind fare.
    """
    examples = []
    wrong = doubted = 0
    for patient in range(patients + tested):
        rng = np.random.default_rng([815, patient])
        truth, picture = draw_chest(rng)
        learned = patient < patients
        report = report_of(truth, rng, unsure=unsure if learned else 0.0)
        examples.append(
            Example(
                id=str(patient),
                patient_key=str(patient),
                fold="train" if learned else "test",
                input=picture[np.newaxis],
                presence=dict(report.probability),
                locations=report.locations if learned else _true_locations(truth),
                severities=dict(report.severities),
            )
        )
        if learned:
            doubted += len(report.unsure)
            wrong += sum((report.probability[o] >= 0.5) != truth.present(o) for o in OBSERVATIONS)
    statements = patients * len(OBSERVATIONS)
    said = [f"unsure {doubted / statements:.3f}", f"wrong when rounded {wrong / statements:.3f}"]
    return examples, said


def _true_locations(truth: ChestTruth) -> dict[str, dict[str, float]]:
    return {
        name: {place: float(place in truth.places[name]) for place in places}
        for name, places in LOCATIONS.items()
    }


def heads_of(arm: str, options: argparse.Namespace) -> Heads:
    """Return the heads of an arm of the ablation."""
    location = options.location_weight if arm in ("location", "severity") else 0.0
    severity = options.severity_weight if arm == "severity" else 0.0
    return Heads(
        OBSERVATIONS,
        locations=LOCATIONS,
        severities=dict.fromkeys(OBSERVATIONS, STEPS),
        weights={"presence": 1.0, "location": location, "severity": severity},
    )


def rounded(examples: Sequence[Example]) -> list[Example]:
    """Return the examples with yes or no for each probability."""
    return [
        replace(each, presence={n: float(p >= 0.5) for n, p in each.presence.items()})
        for each in examples
    ]


def measure(
    examples: Sequence[Example], options: argparse.Namespace
) -> tuple[Trial, dict[str, Trial]]:
    """Return the trial of presence, and by arm with a location head that of locations."""
    architecture, plan = MultiType(), Plan(options.epochs, batch_size=16)
    tested = [each for each in examples if each.fold == "test"]
    columns = location_columns(heads_of("location", options))
    presence: dict[str, list[Any]] = {name: [] for name in (*ARMS, "features")}
    locations: dict[str, list[Any]] = {name: [] for name in ARMS[2:]}
    features = architecture.features(examples).numpy().astype(np.float64)
    for seed in range(options.seeds):
        for arm in ARMS:
            heads = heads_of(arm, options)
            given = rounded(examples) if arm == "hard" else list(examples)
            network = learn(architecture, given, heads, plan, seed)
            presence[arm].append(outputs_of(architecture, network, tested, heads))
            if arm in locations:
                found = outputs_of(architecture, network, tested, heads, "location")
                locations[arm].append(found)
            print(f"  seed {seed}, {arm}: learned", flush=True)
        said = logistic(rounded(examples), features, OBSERVATIONS, seed)
        presence["features"].append(said[len(examples) - len(tested) :])
    patients = [each.patient_key for each in tested]
    targets = np.asarray([[each.presence[o] for o in OBSERVATIONS] for each in tested])
    where = np.asarray([[each.locations[o][p] for o, p in columns] for each in tested])
    named = tuple(f"{observation} {place}" for observation, place in columns)
    return (
        Trial(OBSERVATIONS, targets, patients, _stacked(presence)),
        {
            arm: Trial(named, where, patients, {arm: each})
            for arm, each in _stacked(locations).items()
        },
    )


def _stacked(scores: Mapping[str, list[Any]]) -> dict[str, Any]:
    return {name: np.stack(each) for name, each in scores.items()}


def steps_of(trial: Trial) -> dict[str, dict[str, Any]]:
    """Return what each step of the ablation adds to the step before, by observation."""
    return {
        f"{arm} ahead of {before}": {
            name: trial.ahead(arm, before, name) for name in trial.observations
        }
        for arm, before in _STEPS_OF_ABLATION
    }


def options_of(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--patients", type=int, default=600)
    parser.add_argument("--tested", type=int, default=600)
    parser.add_argument("--unsure", type=float, default=0.4)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--location-weight", type=float, default=0.1)
    parser.add_argument("--severity-weight", type=float, default=0.1)
    parser.add_argument("--out", type=Path, help="the line of JSON goes here, too")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the ablation."""
    options = options_of(arguments)
    examples, said = draw_examples(options.patients, options.tested, options.unsure)
    trial, places = measure(examples, options)
    print(f"SIMULATED chests; the reader's statements: {', '.join(said)}")
    print("\n".join(lines_of(trial, ARMS[-1])))
    steps = steps_of(trial)
    rows = [[step, *(each.signed() for each in found.values())] for step, found in steps.items()]
    print("\n".join(table(["step", *OBSERVATIONS], rows)))
    for arm, each in places.items():
        rows = [[name, str(each.auroc(arm, name))] for name in each.observations]
        print("\n".join(table([f"where, {arm}", "AUROC"], rows)))
    line = json.dumps(
        {
            "data": "simulated",
            **{n: v for n, v in vars(options).items() if n != "out"},
            "reader": said,
            "figures": json_of(trial, ARMS[-1]),
            "steps": {s: {n: vars(f) for n, f in found.items()} for s, found in steps.items()},
            "locations": {
                arm: {name: vars(each.auroc(arm, name)) for name in each.observations}
                for arm, each in places.items()
            },
        }
    )
    if options.out:
        options.out.write_text(line + "\n", encoding="utf-8")
    print(line)


if __name__ == "__main__":
    main()
