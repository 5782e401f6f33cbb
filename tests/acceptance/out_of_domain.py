"""Do models abstain on what they were not made for? Trained and asked on SIMULATED series.

    python -m tests.acceptance.out_of_domain [--family volume3d|disc_network] [--studies 240]
        [--foreign 1000] [--fresh 320] [--out FILE.json]

A small network learns from sagittal lumbar T2 of four simulated scanners, is saved and read again,
and is then asked about series of patients that it has not seen, and about foreign ones, kind by
kind. ``right`` headers are those of a series that it was made for, so that only pixels can tell;
``by`` says what did: headers, pixels, or that the series could not be read or its discs not found.
Promised: at least 99 % of foreign series abstain, and at most 2 % of the others. The seconds are
those that asking takes beside a prediction. Where the shared data are (RADLOOP_SHARED), real
pictures are among the foreign ones, and real slices stand below, of which nothing is promised.
Ends with one line of JSON; exit status 1 where a promise is broken.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.acceptance.foreign_pictures import COARSER, Drawn, kinds, lumbar, shared_kinds, write
from tests.shared_data import shared_file
from training.architectures.volume3d import Volume3D
from training.classifier import DISC_NETWORK
from training.domain.domain import OUTSIDE, UNLIKE, Look, learn_domain
from training.domain.overview import overview_of
from training.experiment import train_on_members
from training.inference import Predicted, predict
from training.learning.experiment import train_architecture
from training.learning.inference import Loaded
from training.learning.settings import LearningSettings
from training.learning.weights import load_network, save_network
from training.localiser import LEVELS
from training.settings import TrainingSettings
from training.weights import save_weights

FOREIGN_LEAST, OWN_MOST = 0.99, 0.02
FOLDS = ("train",) * 6 + ("validation",) * 3 + ("test",)
NETWORK = Volume3D().with_input_shape((4, 32, 32))
OBSERVATION = "odd"

Ask = Callable[[Sequence[Path]], list[Predicted]]


@dataclass(frozen=True)
class Row:
    """How many series of a kind there were, and by what those that abstained were found."""

    kind: str
    headers: str
    count: int
    by: dict[str, int]

    @property
    def abstained(self) -> int:
        return sum(self.by.values())


def train(folder: Path, studies: int, family: str) -> tuple[Ask, dict[str, Any]]:
    """Train on simulated studies and return what predicts, from its file, and the record."""
    members = []
    for number in range(studies):
        files = write(lumbar(11, number, coarser=COARSER[family]), folder / "train" / str(number))
        # What is learned does not matter here; both classes are in every fold.
        told = dict.fromkeys(LEVELS, float(number // 4 % 2))
        members.append(
            {
                "study_instance_uid": f"1.2.{number}",
                "patient_key": f"p{number}",
                "fold": FOLDS[number // 4 % len(FOLDS)],
                "targets": {OBSERVATION: told},
                "files": [str(each) for each in files],
                "digests": [f"{number}/{each.name}" for each in files],
            }
        )
    settings = TrainingSettings(
        maximum_epochs=1,
        batch_size=16,
        threads=1,
        bootstrap_samples=100,
        learning=LearningSettings(least_of_a_class=1),
    )
    path = folder / "model.safetensors"
    if family == "disc_network":
        result, record = train_on_members(
            members, [OBSERVATION], LEVELS, settings, DISC_NETWORK, _mute
        )
        digest = save_weights(path, result, {})
        return lambda files: predict(path, digest, files, [OBSERVATION], LEVELS), record
    trained = train_architecture(
        NETWORK, members, [OBSERVATION], LEVELS, settings, (folder / "a", folder / "b"), _mute
    )
    digest = save_network(
        path,
        trained.learned,
        input_shape=trained.input_shape,
        preparation=trained.preparation,
        thresholds=trained.record["thresholds"],
        provenance={},
        domain=trained.domain,
    )
    network = Loaded(load_network(path, digest), NETWORK)
    return lambda files: network.predict(files, [OBSERVATION], LEVELS), trained.record


def ask(
    kind: str, headers: str, pictures: Callable[[int], Drawn], numbers: range, model: Ask
) -> Row:
    """Write series of a kind one by one, and count those that the model abstains on."""
    by: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for number in numbers:
            files = write(pictures(number), Path(folder) / str(number))
            rows = model(files)
            if all(each.probability is None for each in rows):
                by[_found_by(rows[0].reason)] += 1
    return Row(kind, headers, len(numbers), dict(by))


def _found_by(reason: str) -> str:
    if reason.startswith(OUTSIDE):
        return "headers"
    return "pixels" if reason.startswith(UNLIKE) else "reading"


def foreign_rows(model: Ask, wanted: int, coarser: int, say: Callable[[Row], None]) -> list[Row]:
    """Ask about foreign series, about ``wanted`` of them, as many of each simulated kind."""
    simulated = kinds(12, coarser)
    each = -(-wanted // len(simulated))
    rows = []
    for name, (headers, pictures) in simulated.items():
        rows.append(ask(name, headers, pictures, range(each), model))
        say(rows[-1])
    try:
        real = list(shared_kinds(13, coarser))
    except FileNotFoundError as error:
        print(f"real pictures are left out: {error}")
        real = []
    for name, headers, pictures, count in real:
        rows.append(ask(name, headers, pictures, range(min(count, 3 * each)), model))
        say(rows[-1])
    return rows


def real_slices() -> list[Row]:
    """Learn from real sagittal T2 slices by patient, and ask about other patients' T2 and T1.

    Single slices as pictures, without headers; nothing is promised of them.
    """
    folder = shared_file("data/spider_lumbar_png/images")
    patients = sorted(
        {path.name.partition("_")[0] for path in folder.glob("*_t2.png")}, key=lambda p: (len(p), p)
    )
    order = [patients[i] for i in np.random.default_rng(7).permutation(len(patients))]
    looks, fresh = [], order[int(0.7 * len(order)) :]
    for place, patient in enumerate(order[: -len(fresh)]):
        fold = "validation" if place % 4 == 0 else "train"
        looks.append(Look(patient, fold, (), overview_of(_slice(folder / f"{patient}_t2.png"))))
    domain = learn_domain(looks)
    changes: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
        "real T2, other patients (in domain)": ("t2", lambda p: p),
        "real T1": ("t1", lambda p: p),
        "real T2 upside down": ("t2", lambda p: p[:, ::-1]),
        "real T2 back to front": ("t2", lambda p: p[:, :, ::-1]),
        "real T2 inverted": ("t2", lambda p: p.max() - p),
    }
    rows = []
    for name, (weighting, change) in changes.items():
        paths = [folder / f"{each}_{weighting}.png" for each in fresh]
        given = [change(_slice(path)) for path in paths if path.exists()]
        found = sum(bool(domain.unlike_pixels(overview_of(each))) for each in given)
        rows.append(Row(name, "none", len(given), {"pixels": found}))
    return rows


def _slice(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("L"), dtype=np.float32)[None]


def _line(row: Row) -> str:
    by = ", ".join(f"{name} {count}" for name, count in sorted(row.by.items()) if count)
    share = row.abstained / max(row.count, 1)
    return f"{row.kind:<38}{row.headers:<8}{row.count:>6}{row.abstained:>7}{share:>8.1%}   {by}"


def _mute(_: str) -> None:
    """Training says nothing here."""


def seconds_of_asking(folder: Path) -> float:
    """Return the median seconds of describing a stack of full size (11 x 256 x 256)."""
    stack = np.random.default_rng(0).random((11, 256, 256)).astype(np.float32)
    taken = []
    for _ in range(9):
        began = time.perf_counter()
        overview_of(stack)
        taken.append(time.perf_counter() - began)
    return float(np.median(taken))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--family", choices=("volume3d", "disc_network"), default="volume3d")
    parser.add_argument("--studies", type=int, default=240)
    parser.add_argument("--foreign", type=int, default=1000)
    parser.add_argument("--fresh", type=int, default=320)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    coarser = COARSER[options.family]
    with tempfile.TemporaryDirectory() as folder:
        model, record = train(Path(folder), options.studies, options.family)
        seconds = seconds_of_asking(Path(folder))
        print(f"SIMULATED: {options.family} learned from {record['counts']}")
        print(f"what its inputs were like: {json.dumps(record['domain'])}")
        print(f"describing a stack of 11 x 256 x 256: {1000 * seconds:.1f} ms\n")
        print(f"{'series':<38}{'headers':<8}{'count':>6}{'abst.':>7}{'share':>8}   by")
        say: Callable[[Row], None] = lambda row: print(_line(row), flush=True)  # noqa: E731
        own = ask("fresh patients (in domain)", "own", lambda n: lumbar(14, n, coarser=coarser),
                  range(options.fresh), model)  # fmt: skip
        say(own)
        foreign = foreign_rows(model, options.foreign, coarser, say)
    try:
        real = real_slices()
    except FileNotFoundError as error:
        print(f"real slices are left out: {error}")
        real = []
    for row in real:
        print(_line(row))
    whole = sum(row.count for row in foreign)
    abstained = sum(row.abstained for row in foreign)
    # Discs that the localiser does not find were no prediction before, either.
    refused = {"reading": own.by.get("reading", 0), "fresh": own.count}
    beside = own.abstained - refused["reading"]
    asked = own.count - refused["reading"]
    kept = asked > 0 and abstained >= FOREIGN_LEAST * whole and beside <= OWN_MOST * asked
    print(f"\nforeign: {abstained} of {whole} abstain; in domain: {beside} of {asked}")
    told = {
        "family": options.family,
        "foreign": whole,
        "foreign_abstained": abstained,
        "fresh": own.count,
        "fresh_abstained": beside,
        "fresh_not_read": refused["reading"],
        "least_of_a_kind": min(row.abstained / row.count for row in foreign),
        "rows": [
            {"kind": r.kind, "headers": r.headers, "count": r.count, "by": r.by}
            for r in (own, *foreign, *real)
        ],
        "milliseconds": 1000 * seconds,
        "kept": kept,
    }
    if options.out:
        options.out.write_text(json.dumps(told))
    print(json.dumps(told))
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
