"""Do classifiers trained on automatic labels match those trained on human gradings?

    python -m tests.benchmarks.parity --folder DIR [--labeler token_scores|rules] [--rates FILE]
        [--calibration 60] [--pilot 90] [--rounds 2] [--crops found given] [--seeds 5]
        [--folds 5] [--epochs 15] [--limit N] [--out FILE.json]

Real lumbar MR slices with human gradings (SPIDER, training part only), SIMULATED notes paired with
them. Notes are written from the gradings and worded so that the labeler errs as often as at the
disc levels of 101 real notes; they go with the slices through a node, which links and labels
them. One classifier learns from the node's labels, one from the gradings. AUROC is against the
gradings of discs whose patients were not learned from, with intervals by patient. Every step is
kept in the folder: a stopped run goes on, other options begin what depends on them anew. Ends with
one line of JSON. deploy/parity.md says what this can show and what not.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.acceptance.readings import for_json
from tests.parity.calibrating import ReadNote, calibration_notes, thresholds_on
from tests.parity.classifiers import Course, crops_of, trial_of
from tests.parity.figures import (
    achieved,
    json_of_trial,
    lines_of_rates,
    lines_of_trial,
    verdict_of,
)
from tests.parity.gradings import FOLDER, GradedPatient, graded_patients
from tests.parity.labeling import LABELERS, Reading
from tests.parity.matching import match
from tests.parity.node import Labels, ParityNode
from tests.parity.notes import Note, Shares, write_note
from tests.parity.rates import SOURCE, Rate, wanted_rates
from tests.shared_data import shared_file

SIMULATED = (
    "SIMULATED pairing: real slices and human gradings, notes written from the gradings; the notes "
    "err as the labeler does on real notes, not as those readers would who read these images"
)


def shares_of(
    patients: Sequence[GradedPatient],
    wanted: Mapping[str, Rate],
    calibration: Sequence[ReadNote],
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Return what the pilot found, read from the folder where it is there."""
    asked = {
        "labeler": options.labeler,
        "pilot": options.pilot,
        "rounds": options.rounds,
        "seed": options.seed,
        "calibration": [each.text for each in calibration],
        "patients": [each.name for each in patients],
        "wanted": {name: vars(each) for name, each in wanted.items()},
    }
    path = _kept(options.folder, "wording", asked)
    if not path.exists():
        read = Reading(options.labeler, options.threads, options.folder / "readings")
        if calibration:
            read = replace(read, thresholds=thresholds_on(calibration, read))
        found = match(
            patients, wanted, read, pilot=options.pilot, rounds=options.rounds, seed=options.seed
        )
        path.write_text(json.dumps({**asked, **found.as_json()}), encoding="utf-8")
    said: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return said


def labels_of(
    patients: Sequence[GradedPatient],
    notes: Mapping[str, Note],
    calibration: Sequence[ReadNote],
    options: argparse.Namespace,
) -> tuple[Labels, dict[str, Any]]:
    """Return the node's labels, read from the folder where they are there."""
    texts = {name: note.text for name, note in notes.items()}
    asked = {
        "labeler": options.labeler,
        "texts": texts,
        "calibration": [each.text for each in calibration],
    }
    path = _kept(options.folder, "labels", asked)
    if not path.exists():
        source = shared_file(FOLDER)
        node = ParityNode(
            path.with_suffix(""), options.labeler, options.threads, options.seed, source
        )
        labels, counts = node.labels(patients, texts, calibration)
        rows = [[p, *place, said] for p, own in labels.items() for place, said in own.items()]
        path.write_text(json.dumps({"node": counts, "labels": rows}), encoding="utf-8")
    kept = json.loads(path.read_text(encoding="utf-8"))
    found: Labels = {each.name: {} for each in patients}
    for patient, target, level, said in kept["labels"]:
        found[patient][target, level] = said
    return found, kept["node"]


def _kept(folder: Path, name: str, asked: Mapping[str, Any]) -> Path:
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]
    return Path(folder / f"{name}-{digest}.json")


def options_of(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--folder", type=Path, required=True, help="what is done is kept there")
    parser.add_argument("--labeler", choices=LABELERS, default=LABELERS[0])
    parser.add_argument("--rates", type=Path, help="what lumbar_notes --out wrote")
    parser.add_argument("--least-positives", type=int, default=20, help="of a condition's rates")
    parser.add_argument("--calibration", type=int, default=60, help="notes; 0: no thresholds")
    parser.add_argument("--pilot", type=int, default=90, help="notes of each round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--crops", nargs="+", choices=("found", "given"), default=["found"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--limit", type=int, help="only so many patients")
    parser.add_argument("--seed", type=int, default=0, help="of notes and simulated persons")
    parser.add_argument("--threads", type=int, default=2, help="of the language model")
    parser.add_argument("--out", type=Path, help="the line of JSON goes here, too")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is left to do, and print the figures."""
    options = options_of(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    print(SIMULATED, flush=True)
    source = shared_file(FOLDER)
    seconds: dict[str, float] = {}
    began = time.monotonic()

    def lap(step: str) -> None:
        seconds[step] = round(time.monotonic() - began - sum(seconds.values()), 1)

    patients = graded_patients(source, options.limit)
    wanted = wanted_rates(options.labeler, options.least_positives, options.rates)
    # The states of rules have no place between them for a threshold.
    count = 0 if options.labeler == "rules" else options.calibration
    calibration = calibration_notes(patients, count, options.seed)
    matched = shares_of(patients, wanted, calibration, options)
    lap("pilot")
    shares = Shares(**matched["shares"])
    notes = {p.name: write_note(f"{options.seed} {p.name}", p.truth, shares) for p in patients}
    labels, node = labels_of(patients, notes, calibration, options)
    lap("node")
    rates = achieved(patients, notes, labels)
    print(f"{len(patients)} patients; the node: {node}")
    print(f"wanted rates: {options.rates or SOURCE}; no target of ours is in those notes")
    print("\n".join(lines_of_rates(wanted, rates)))
    print(f"not to be matched by wording: {matched['limits'] or 'nothing'}", flush=True)
    trials: dict[str, Any] = {}
    for kind in options.crops:
        crops = crops_of(kind, source, labels)
        course = Course(options.seeds, options.folds, options.epochs)
        trial = trial_of(crops, course, options.folder / "scores")
        lap(f"classifiers on {kind} crops")
        verdict = verdict_of(trial)
        print(f"\n{kind} crops: {len(crops.examples)} discs, {len(set(crops.patients))} patients")
        print("\n".join(lines_of_trial(trial)))
        print(f"classifiers on automatic labels keep up: {verdict}", flush=True)
        trials[kind] = {"figures": json_of_trial(trial), "verdict": verdict}
    line = json.dumps(
        for_json(
            {
                "simulated": SIMULATED,
                **{k: v for k, v in vars(options).items() if not isinstance(v, Path | None)},
                "node": node,
                "wanted": {name: vars(each) for name, each in wanted.items()},
                "achieved": {name: vars(each) for name, each in rates.items()},
                "wording": {key: matched[key] for key in ("shares", "by_manner", "limits")},
                "seconds": seconds,
                "crops": trials,
            }
        )
    )
    if options.out:
        options.out.write_text(line + "\n", encoding="utf-8")
    print(line)


if __name__ == "__main__":
    main()
