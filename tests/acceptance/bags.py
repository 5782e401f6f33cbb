"""Labels of whole reports: gated attention beside a plain mean, on SIMULATED bags of discs.

    python -m tests.acceptance.bags [--patients 240] [--seeds 5] [--epochs 40] [--out FILE.json]

A bag holds three to five discs of a simulated spine; the label says whether any of them has the
finding. Two thirds of the patients teach, the others are tested on; seeds change the networks, not
the patients. ``mean`` is the same network with the mean of the instances' probabilities,
``features`` is logistic regression on mean and greatest value of fixed features. Then: how often
the disc with the highest attention has the finding, beside how often any disc of the same bags has.
Prints a table and ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from plugin.simulation import phantom
from plugin.simulation.phantom_anatomy import DISCS
from plugin.simulation.truth import LEVELS, SpineTruth, draw_truth
from tests.acceptance.learning_loop import Plan, learn, outputs_of
from tests.acceptance.readings import table
from tests.acceptance.rivals import Floats, Trial, json_of, lines_of, logistic
from training.architectures.bag_mil import BagMil
from training.architectures.protocol import Heads
from training.disc_crops import cut_crops
from training.discs import DiscLocation
from training.geometry import stack_slices
from training.learning.example import Example

OBSERVATIONS = ("herniation", "stenosis", "spondylolisthesis")
HEADS = Heads(OBSERVATIONS)
METHODS = ("bag_mil", "mean", "features")
_LEARNED_FROM = 2 / 3  # of the patients
_FEWEST = 3  # discs of a bag

Bags = tuple[list[Example], list[Floats]]
"""Examples, and of each which instance has which finding (instances, observations)."""


def draw_bags(patients: int) -> Bags:
    """Draw a bag for each patient."""
    examples, truths = [], []
    for patient in range(patients):
        rng = np.random.default_rng([4711, patient])
        truth, crops = _discs(rng, patient)
        levels = sorted(crops, key=LEVELS.index)
        count = (
            int(rng.integers(_FEWEST, len(levels) + 1)) if len(levels) > _FEWEST else len(levels)
        )
        if not count:
            continue
        kept = sorted(rng.choice(len(levels), count, replace=False))
        found = np.asarray(
            [[truth.present(o, levels[i]) for o in OBSERVATIONS] for i in kept], dtype=float
        )
        examples.append(
            Example(
                id=str(patient),
                patient_key=str(patient),
                fold="train" if patient < patients * _LEARNED_FROM else "test",
                input=np.stack([crops[levels[i]] for i in kept]),
                presence=dict(zip(OBSERVATIONS, found.max(axis=0).tolist(), strict=True)),
            )
        )
        truths.append(found)
    return examples, truths


def _discs(
    rng: np.random.Generator, patient: int
) -> tuple[SpineTruth, dict[str, np.ndarray[Any, np.dtype[np.float32]]]]:
    """Draw a spine; return its truth and the crops where its discs really are."""
    truth, anatomy = draw_truth(rng), phantom.draw_anatomy(rng)
    scanner = phantom.SCANNERS[patient % len(phantom.SCANNERS)]
    series = phantom.draw_series(truth, scanner, "T2", anatomy, rng)
    volume = stack_slices(
        list(series.pixels.astype(np.float32)),
        [np.asarray(position) for position in series.positions],
        np.asarray(series.orientation),
        series.pixel_spacing,
        series.slice_thickness,
    )
    centres = phantom.disc_centres(truth, anatomy)
    locations = []
    for level in LEVELS:
        x, y, z = (float(each) for each in centres[level])
        voxel = volume.to_voxels(np.asarray((x, y, z)))
        place = (float(voxel[0]), float(voxel[1]), float(voxel[2]))
        tilt = anatomy.disc_tilt[DISCS.index(level)]
        locations.append(DiscLocation(level, (x, y, z), place, tilt, 1.0))
    crops, usable = cut_crops(volume, locations, LEVELS)
    return truth, {n: c for n, c, u in zip(LEVELS, crops, usable, strict=True) if u}


def pointed_at(
    attention: Sequence[Floats], truths: Sequence[Floats]
) -> dict[str, tuple[float, float, int]]:
    """Return by observation: share of hits, share of hits by chance, positive bags that count.

    Only bags count in which some disc has the finding and some has not.

    Args:
        attention: of each bag (observations, instances).
        truths: of each bag (instances, observations).
    """
    found = {}
    for column, name in enumerate(OBSERVATIONS):
        hits, chances = [], []
        for weights, truth in zip(attention, truths, strict=True):
            has = truth[:, column]
            if 0 < has.mean() < 1:
                hits.append(has[int(weights[column].argmax())])
                chances.append(has.mean())
        found[name] = (_mean(hits), _mean(chances), len(hits))
    return found


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def measure(bags: Bags, options: argparse.Namespace) -> tuple[Trial, dict[str, Any]]:
    """Return what each method says of the test bags, and where the attention pointed."""
    examples, truths = bags
    chosen = [i for i, each in enumerate(examples) if each.fold == "test"]
    tested = [examples[i] for i in chosen]
    scores = {
        method: np.full((options.seeds, len(tested), len(OBSERVATIONS)), np.nan)
        for method in METHODS
    }
    features = BagMil().features(examples).numpy().astype(np.float64)
    plan = Plan(options.epochs, batch_size=16)
    hits = []
    for seed in range(options.seeds):
        for method, architecture in (("bag_mil", BagMil()), ("mean", BagMil(pooling="mean"))):
            network = learn(architecture, examples, HEADS, plan, seed)
            scores[method][seed] = outputs_of(architecture, network, tested, HEADS)
            if method == "bag_mil":
                shown = [architecture.attention(network, each, HEADS) for each in tested]
                hits.append(pointed_at(shown, [truths[i] for i in chosen]))
        scores["features"][seed] = logistic(examples, features, OBSERVATIONS, seed)[chosen]
        print(f"  seed {seed}: learned", flush=True)
    targets = np.asarray([[each.presence[name] for name in OBSERVATIONS] for each in tested])
    trial = Trial(OBSERVATIONS, targets, [each.patient_key for each in tested], scores)
    pointing = {
        name: {
            "hits": float(np.mean([each[name][0] for each in hits])),
            "chance": hits[0][name][1],
            "bags": hits[0][name][2],
        }
        for name in OBSERVATIONS
    }
    return trial, pointing


def pointing_lines(pointing: dict[str, Any]) -> Iterator[str]:
    """Yield a table of where the attention pointed."""
    rows = [
        [name, f"{each['hits']:.3f}", f"{each['chance']:.3f}", str(each["bags"])]
        for name, each in pointing.items()
    ]
    yield from table(["attention", "on a disc that has it", "by chance", "bags"], rows)


def options_of(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--patients", type=int, default=240)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--out", type=Path, help="the line of JSON goes here, too")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure on simulated bags."""
    options = options_of(arguments)
    bags = draw_bags(options.patients)
    trial, pointing = measure(bags, options)
    sizes = sorted({len(each.input) for each in bags[0]})
    print(f"SIMULATED bags of {sizes} discs; {len(trial.patients)} of {len(bags[0])} tested")
    print("\n".join([*lines_of(trial, "bag_mil"), *pointing_lines(pointing)]))
    run = {name: getattr(options, name) for name in ("patients", "seeds", "epochs")}
    figures = json_of(trial, "bag_mil")
    line = json.dumps({"data": "simulated", **run, "figures": figures, "attention": pointing})
    if options.out:
        options.out.write_text(line + "\n", encoding="utf-8")
    print(line)


if __name__ == "__main__":
    main()
