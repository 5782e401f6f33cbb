"""The five architectures on the node that a demonstration left behind, by the command line alone.

    python -m tests.acceptance.demo_models [DEMO_OUTPUT] [--epochs 8] [--only NAME,NAME]
        [--folder FOLDER] [--out FILE.json]

A series rule is tried on the archive, a cohort is frozen by it, shown, verified and exported in
all formats, and each architecture trains on it. All images are SIMULATED, and the test fold has a
dozen studies: the figures say that it works, not how well. Exit status 1 where a promise is
broken. Prints tables and ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.acceptance.commands import Commands
from tests.acceptance.readings import table

ARCHITECTURES = ("resnet50_multilabel", "volume3d", "disc_grading", "bag_mil", "multi_type")
RULE, COHORT = "lumbar_sagittal_t2", "demo-models"
_ACCEPTED = ("--accept-uncalibrated", "--accept-unqualified", "--accept-unsampled")
_FORMATS = ("parquet", "datalist", "nifti", "dicom")
# Smaller than the architectures' own, so that two cores train it in a minute or two.
_LEARNING = """
[training]
maximum_epochs = {epochs}
patience = {epochs}

[training.learning]
least_of_a_class = 2
"""


def settings_of(node: Path, epochs: int) -> Path:
    """Write the settings of the trainings beside those of the node, and return the file."""
    text = (node / "radloop.toml").read_text(encoding="utf-8")
    if re.search(r"^\[training\]", text, re.MULTILINE):
        raise SystemExit("the demonstration has settings of training; this module writes them")
    config = node / "demo-models.toml"
    config.write_text(text + _LEARNING.format(epochs=epochs), encoding="utf-8")
    return config


def cohort_of(commands: Commands, folder: Path) -> tuple[dict[str, Any], list[tuple[str, bool]]]:
    """Try the rule, freeze, show, verify and export; return figures and promises."""
    tried = commands.run("series", "try", RULE)
    frozen = commands.run(
        *("cohort", "freeze", COHORT, "--labeler", "token_scores", "--series-rule", RULE),
        *_ACCEPTED,
    )
    shown = commands.run("cohort", "show", COHORT, "--studies")
    verified = commands.run("cohort", "verify", COHORT, "--read-files")
    exported = commands.run(
        *("cohort", "export", COHORT, "--to", str(folder / "export")),
        *("--format", ",".join(_FORMATS)),
    )
    taken = {row["study_instance_uid"] for row in tried["studies"] if row["takes"]}
    rows = shown["studies"]
    members = {row["study_instance_uid"] for row in rows if not row["reason"]}
    figures = {
        "tried": tried["counts"],
        "reasons": tried["reasons"],
        "folds": frozen["folds"],
        "exclusions": frozen["exclusions"],
        "exported": {name: exported[name] for name in ("members", "left_out", "files")},
    }
    promises = [
        ("every study has the rule's reason", all(row["why"] for row in tried["studies"])),
        ("members are studies of which the rule takes a series", members <= taken),
        ("every study is a member or has a reason", len(rows) == tried["counts"]["studies"]),
        ("all of three folds have members", all(frozen["folds"].get(f) for f in _FOLDS)),
        ("nothing differs from the manifest", verified["differences"] == []),
        ("every member is exported or has a reason", _accounted(exported, frozen)),
    ]
    return figures, promises


_FOLDS = ("train", "validation", "test")


def _accounted(exported: dict[str, Any], frozen: dict[str, Any]) -> bool:
    left = sum(exported["left_out"].values()) - sum(frozen["exclusions"].values())
    return bool(exported["members"] + left == frozen["members"] and exported["members"])


def train(commands: Commands, node: Path, name: str) -> tuple[dict[str, Any], bool]:
    """Train one architecture; return its figures and whether its curve was drawn."""
    found = commands.run("train", COHORT, "--name", f"demo-{name}", "--architecture", name)
    observations = found["test"]["observations"]
    figures = {
        **{key: found[key] for key in ("model", "epochs", "seconds", "not_trained")},
        "not_used": [each["reason"] for each in found["not_used"]],
        "auroc": {
            each: [
                said["auroc"]["value"],
                *(b["auroc"]["value"] for b in said["baselines"].values()),
            ]
            for each, said in observations.items()
        },
    }
    return figures, any((node / "data").rglob(f"{found['weights']}.png"))


def lines_of(trained: dict[str, dict[str, Any]]) -> list[str]:
    """Return the table of trainings: AUROC of the network and of the linear model beside it."""
    rows = [
        [name, each, *("-" if value is None else f"{value:.2f}" for value in values)]
        for name, figures in trained.items()
        for each, values in figures["auroc"].items()
    ]
    return list(table(["architecture", "finding", "AUROC", "linear"], rows))


def options_of(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("demo", nargs="?", type=Path, default=Path("demo-output"))
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--only", default=",".join(ARCHITECTURES))
    parser.add_argument("--folder", type=Path, help="takes the export; default: a temporary one")
    parser.add_argument("--out", type=Path, help="the line of JSON goes here, too")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the commands and hold them against their promises."""
    options = options_of(arguments)
    node = options.demo / "node"
    commands = Commands(settings_of(node, options.epochs))
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        figures, promises = cohort_of(commands, folder)
    trained = {}
    for name in options.only.split(","):
        trained[name], drawn = train(commands, node, name)
        about = trained[name]
        promises.append((f"{name}: its curve is drawn", drawn))
        promises.append((f"{name}: it learned at least one finding", bool(about["auroc"])))
        print(f"{name}: {about['epochs']} epochs, {about['seconds']:.0f} s", flush=True)
    print("SIMULATED images, a test fold of a dozen studies")
    print("\n".join(lines_of(trained)))
    for promise, kept in promises:
        print(f"{'ok    ' if kept else 'BROKEN'}  {promise}")
    line = json.dumps({"data": "simulated", "cohort": figures, "trained": trained})
    if options.out:
        options.out.write_text(line + "\n", encoding="utf-8")
    print(line)
    return int(not all(kept for _, kept in promises))


if __name__ == "__main__":
    sys.exit(main())
