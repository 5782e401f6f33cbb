"""Simulated readers: they read what was drawn for them as a site's readers would, by worksheet.

Two read each subject, blinded, and err now and then, each on his own; a third settles what they
dispute. What is true is what the texts of the reports say, and what the phantoms show.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from labeling.reference_file import Place
from labeling.vocabulary import WHOLE, State
from plugin.demo.node import DemoNode
from plugin.errors import Permanent
from plugin.simulation.hospital import HospitalPlan
from plugin.simulation.truth import LEVELS, OBSERVATIONS

REPORTS = 24
"""How many reports are read."""

_ERRORS = 0.01  # share of places that a reader gets wrong
_WRONG = {State.PRESENT: State.ABSENT}  # everything else is taken for present

Truth = Callable[[str], Mapping[Place, State]]
"""What is true of a subject, by place; places that nobody knows are left out."""


def read_samples(node: DemoNode, plan: HospitalPlan, folder: Path) -> dict[str, Any]:
    """Draw reports, and images of studies without a report, and have both read and adjudicated.

    Args:
        node: that draws and imports.
        plan: knows the truth.
        folder: takes the worksheets.

    Returns:
        By level: ``sample``, ``n``, ``frame``, ``labels``, and how many places the readers
        ``agreed`` on or were ``adjudicated``.

    Raises:
        Permanent: a label was refused, or something is still in dispute.
    """
    drawn: tuple[tuple[str, int, tuple[str, ...], Truth], ...] = (
        # The test fold first: of its patients no report is drawn then.
        ("image", len(plan.awaiting), ("--without-report",), lambda uid: _of_images(plan, uid)),
        ("report", REPORTS, (), lambda subject: _of_report(plan, subject)),
    )
    return {
        level: _read(node, plan.seed, folder / level, level, n, more, truth)
        for level, n, more, truth in drawn
    }


def _read(
    node: DemoNode,
    seed: int,
    folder: Path,
    level: str,
    n: int,
    more: tuple[str, ...],
    truth: Truth,
) -> dict[str, Any]:
    found = node.command(
        *("reference", "sample", "--level", level, "--n", str(n), "--seed", str(seed)),
        *("--output", str(folder), "--by", "demo", *more),
    )
    sample = found["sample"]
    labels = 0
    for number, sheet in enumerate(found["worksheets"], start=1):
        rng = np.random.default_rng((seed, number))
        labels += _import(node, sample, _filled(Path(sheet), truth, rng))
    settling = folder / "adjudication.csv"
    node.command("reference", "disagreements", "--sample", sample, "--output", str(settling))
    labels += _import(node, sample, _filled(settling, truth, None))
    left = node.command("reference", "disagreements", "--sample", sample)
    if left["disputed"]:
        raise Permanent(f"{left['disputed']} places are still in dispute")
    return {
        "sample": sample,
        "n": found["n"],
        "frame": found["frame"],
        "labels": labels,
        "agreed": left["agreed"],
        "adjudicated": left["adjudicated"],
    }


def _import(node: DemoNode, sample: str, path: Path) -> int:
    done = node.command("reference", "import", str(path), "--sample", sample)
    return int(done["imported"])


def _filled(path: Path, truth: Truth, errors: np.random.Generator | None) -> Path:
    """Fill a worksheet in, with errors where a generator draws them; return the file."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream)
        rows, head = list(reader), reader.fieldnames or ()
    known: dict[str, Mapping[Place, State]] = {}
    for row in rows:
        if row["subject"] not in known:
            known[row["subject"]] = truth(row["subject"])
        state = known[row["subject"]].get((row["observation"], row["site"]))
        if state is not None and errors is not None and errors.random() < _ERRORS:
            state = _WRONG.get(state, State.PRESENT)
        row["state"] = "" if state is None else str(state)
        row["reader"] = f"simulated {row['reader']}"
    filled = path.with_name(f"{path.stem}-filled.csv")
    with filled.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, head)
        writer.writeheader()
        writer.writerows(rows)
    return filled


def _of_report(plan: HospitalPlan, number: str) -> Mapping[Place, State]:
    """Return what the one report with this accession number says.

    Of reports that belong to no study the plan does not know it: nobody reads them.
    """
    said = [
        states
        for uid, states in plan.report_states.items()
        if plan.studies[uid].header.accession_number == number
    ]
    return said[0] if len(said) == 1 else {}


def _of_images(plan: HospitalPlan, uid: str) -> Mapping[Place, State]:
    truth = plan.studies[uid].spine.truth
    return {
        (observation, site): State.PRESENT
        if truth.present(observation, None if site == WHOLE else site)
        else State.ABSENT
        for observation in OBSERVATIONS
        if truth.known(observation)
        for site in (WHOLE, *LEVELS)
    }
