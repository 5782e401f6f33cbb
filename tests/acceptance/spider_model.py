"""A model of real images, from notes to its card, by the command line: the parity node goes on.

    RADLOOP_SHARED=... python -m tests.acceptance.spider_model NODE --folder FOLDER
        [--tested 60] [--epochs 40] [--seed 0] [--out FILE.json]

NODE is the folder of the node that ``python -m tests.benchmarks.parity --folder DIR`` filled
(``DIR/labels-*``); it is copied, not changed. Patients are drawn for readers of images, and what is
imported of them are the human gradings of SPIDER: they are the test fold. A cohort of the others is
frozen with the labels of their notes, ``disc_grading`` trains on it, the test set is opened under
a plan, labels of notes are held against the gradings, the gate is asked, and a card is written. The
images and the gradings are real, the notes are written from the gradings: the pairing is SIMULATED.
Exit status 1 where a promise is broken. Prints tables and ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from labeling.vocabulary import WHOLE, State
from plugin.simulation.truth import LEVELS
from tests.acceptance.commands import Commands
from tests.acceptance.readings import table
from tests.parity.gradings import FOLDER, TARGETS, Place, graded_patients
from tests.parity.sending import study_uid
from tests.shared_data import shared_file

MODEL = "spider-discs"
_SETTINGS = """
[[prediction]]
model = "{model}"
modality = "MR"
body_part = "LSPINE"
series_description = "T2"

[training]
maximum_epochs = {epochs}
"""
_ACCEPTED = ("--accept-uncalibrated", "--accept-unqualified", "--accept-unsampled")
_FIGURES = ("auroc", "sensitivity", "specificity")


def copied(node: Path, folder: Path, epochs: int) -> Commands:
    """Copy the node, give it settings of training and prediction, and return its commands."""
    shutil.copytree(node, folder)
    config = folder / "radloop.toml"
    text = config.read_text(encoding="utf-8")
    config.write_text(text + _SETTINGS.format(model=MODEL, epochs=epochs), encoding="utf-8")
    return Commands(config)


def readings(seed: int) -> dict[str, Mapping[Place, State]]:
    """Return what the human gradings say, by Study Instance UID of the parity node."""
    found: dict[str, Mapping[Place, State]] = {}
    for patient in graded_patients(shared_file(FOLDER)):
        said = {place: _state(there) for place, there in patient.truth.items()}
        for target in TARGETS:
            somewhere = any(patient.truth[target, level] for level in LEVELS)
            said[target, WHOLE] = _state(somewhere)
        found[study_uid(seed, patient.name)] = said
    return found


def _state(there: bool) -> State:
    return State.PRESENT if there else State.ABSENT


def read_images(commands: Commands, folder: Path, tested: int, seed: int) -> dict[str, Any]:
    """Draw patients, fill the worksheet with the gradings, and import it."""
    drawn = commands.run(
        *("reference", "sample", "--level", "image", "--n", str(tested), "--readers", "1"),
        *("--seed", str(seed), "--output", str(folder), "--by", "acceptance"),
    )
    (sheet,) = drawn["worksheets"]
    with Path(sheet).open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream)
        rows, head = list(reader), reader.fieldnames or ()
    known = readings(seed)
    for row in rows:
        row["state"] = str(known[row["subject"]][row["observation"], row["site"]])
        row["reader"] = "SPIDER gradings"
    filled = folder / "filled.csv"
    with filled.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, head)
        writer.writeheader()
        writer.writerows(rows)
    imported = commands.run("reference", "import", str(filled), "--sample", drawn["sample"])
    return {"drawn": drawn["n"], "frame": drawn["frame"], "labels": imported["imported"]}


def evaluated(commands: Commands) -> dict[str, Any]:
    """Open the test set under a plan and return the figures of the model."""
    commands.run(
        *("evaluation", "plan", "spider", "--cohort", "spider", "--model", MODEL),
        *("--primary", "disc_narrowing:auroc", "--by", "acceptance"),
    )
    opened = commands.run("evaluation", "run", "spider", "--by", "acceptance")
    (own,) = opened["figures"]["models"]
    return {
        "called": opened["figures"]["called"],
        "looks": opened["looks"]["sentence"],
        "observations": {
            name: {
                **{key: each[key] for key in ("n", "positives", "patients", "not_evaluated")},
                **{key: each[key] for key in _FIGURES},
                **{key: own["calibration"][name][key] for key in ("brier", "slope")},
            }
            for name, each in own["observations"].items()
        },
    }


def options_of(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("node", type=Path)
    parser.add_argument("--folder", type=Path, required=True, help="new; all is left there")
    parser.add_argument("--tested", type=int, default=60, help="patients of the test fold")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0, help="as the parity node's")
    parser.add_argument("--out", type=Path, help="the line of JSON goes here, too")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the commands and hold them against their promises."""
    options = options_of(arguments)
    folder: Path = options.folder
    folder.mkdir(parents=True)
    commands = copied(options.node, folder / "node", options.epochs)
    read = read_images(commands, folder / "readers", options.tested, options.seed)
    frozen = commands.run("cohort", "freeze", "spider", "--labeler", "token_scores", *_ACCEPTED)
    trained = commands.run(
        *("train", "spider", "--name", MODEL, "--architecture", "disc_grading"),
    )
    figures = evaluated(commands)
    audit = commands.run("evaluation", "audit", "--labeler", "token_scores")
    reason = "trial of the acceptance"
    live, refusal = commands.try_to("models", "promote", MODEL, "--by", "it", "--reason", reason)
    card = commands.run("models", "card", MODEL, "--to", str(folder / "card"))
    written = json.loads((folder / "card" / "card.json").read_bytes())
    _show(frozen, figures, trained, refusal)
    promises = [
        ("every drawn patient has the gradings", read["labels"] > 0),
        ("all of three folds have members", all(frozen["folds"].get(f) for f in _FOLDS)),
        ("two findings were trained, the others say why not", _accounted(trained)),
        ("training and plan say that the set was looked at", "training" in figures["looks"]),
        ("labels of notes were held against the gradings", bool(audit["conditions"])),
        ("promoted, or refused with a reason", live is not None or bool(refusal)),
        ("the card shows the planned evaluation", bool(written["evaluations"][0]["observations"])),
        ("the card has its pictures", {"roc.png", "reliability.png"} <= set(card["files"])),
    ]
    for promise, kept in promises:
        print(f"{'ok    ' if kept else 'BROKEN'}  {promise}")
    line = json.dumps(
        {
            "data": "real slices and gradings; SIMULATED notes and pairing",
            "readers": read,
            "folds": frozen["folds"],
            "exclusions": frozen["exclusions"],
            "not_trained": trained["not_trained"],
            "ahead_of_logistic_regression": {
                name: {key: told["auroc_difference"] for key, told in each["baselines"].items()}
                for name, each in trained["test"]["observations"].items()
            },
            "epochs": trained["epochs"],
            "seconds": trained["seconds"],
            "evaluation": figures,
            "audit": audit["conditions"],
            "refusal": refusal,
            "stage": written["stages"]["now"],
            "limits": [each["limit"] for each in written["limits"]],
        }
    )
    if options.out:
        options.out.write_text(line + "\n", encoding="utf-8")
    print(line)
    return int(not all(kept for _, kept in promises))


def _accounted(trained: Mapping[str, Any]) -> bool:
    learned, left = set(trained["test"]["observations"]), set(trained["not_trained"])
    return len(learned) >= 2 and learned | left == set(TARGETS)


_FOLDS = ("train", "validation", "test")


def _show(
    frozen: Mapping[str, Any], figures: Mapping[str, Any], trained: Mapping[str, Any], refusal: str
) -> None:
    print("real slices and human gradings; notes written from the gradings: a SIMULATED pairing")
    print(f"folds {frozen['folds']}, left out {frozen['exclusions']}, epochs {trained['epochs']}")
    rows = [
        [name, str(each["n"]), str(each["positives"]), *(_words(each[key]) for key in _SHOWN)]
        for name, each in figures["observations"].items()
    ]
    print("\n".join(table(["finding", "discs", "present", *_SHOWN], rows)))
    print(f"{figures['called']}; {figures['looks']}")
    print(f"gate: {refusal or 'passed'}")


_SHOWN = (*_FIGURES, "brier", "slope")


def _words(told: Mapping[str, Any]) -> str:
    if told["value"] is None:
        return told["reason"] or "none"
    if told["low"] is None:
        return f"{told['value']:.3f}"
    return f"{told['value']:.3f} ({told['low']:.3f} to {told['high']:.3f})"


if __name__ == "__main__":
    sys.exit(main())
