"""Where does the policy for uncertain labels start to matter? SIMULATED chests, known truth.

    python -m tests.benchmarks.uncertainty_policies [--folder DIR] [--patients 600] [--tested 600]
        [--rates 0.05 0.15 0.30] [--present 0.4] [--seeds 3] [--epochs 12] [--pixels 64]
        [--out FILE.json]

Labels of training pictures become "uncertain" at known rates: among those that have the finding,
and among those that have not, the harder cases are drawn more often, and ``--present`` is the share
of uncertain labels that truly are findings. ``resnet50_multilabel`` (small pictures, from random
weights) learns from the same pictures with the same seeds once without uncertainty and once for
each rate and policy: inclusive (uncertain is present), exclusive (absent), mask (left out), soft
(the calibrated probability). All are tested against the truth of other pictures, each of another
simulated person, so that DeLong's test may take them for independent; it compares the mean of the
seeds' scores with that of training without uncertainty. Scores are kept in ``--folder``. Prints a
table and ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import torch

from labeling.evaluation.comparison import delong
from labeling.vocabulary import UncertainPolicy
from plugin.simulation.chest_phantom import OBSERVATIONS
from tests.acceptance.learning_loop import Plan, learn, outputs_of
from tests.acceptance.readings import for_json, number, table
from tests.acceptance.rivals import Floats, Trial
from tests.parity.doubts import Chests, about, doubted, draw_chests, labelled
from training.architectures.protocol import Heads
from training.architectures.resnet50_multilabel import ResNet50MultiLabel
from training.learning.computing import precision_of
from training.learning.options import Options

POLICIES: tuple[UncertainPolicy, ...] = get_args(UncertainPolicy)
CERTAIN = "certain"
"""Training on the true labels of all pictures, none of them uncertain."""
HEADS = Heads(OBSERVATIONS)


def arms_of(rates: Sequence[float]) -> list[tuple[str, float, UncertainPolicy]]:
    """Return every training by its name: without uncertainty, then each rate and policy."""
    arms: list[tuple[str, float, UncertainPolicy]] = [(CERTAIN, 0.0, "mask")]
    return arms + [(f"{policy} {rate:g}", rate, policy) for rate in rates for policy in POLICIES]


def scores_of(chests: Chests, options: argparse.Namespace) -> dict[str, Floats]:
    """Return by arm the scores of the tested pictures: (seeds, pictures, observations)."""
    architecture = ResNet50MultiLabel((1, options.pixels, options.pixels))
    tested = [each for each in chests.examples if each.fold == "test"]
    plan = Plan(
        options.epochs,
        batch_size=32,
        learning_rate=options.learning_rate,
        precision=options.precision,
    )
    scores: dict[str, list[Floats]] = {}
    # Seeds outside: a stopped run has all trainings of the first ones.
    for seed in range(options.seeds):
        for name, rate, policy in arms_of(options.rates):
            path = _kept(options, name, seed)
            if path is None or not path.exists():
                given = labelled(chests, doubted(chests, rate, options.present, seed), policy)
                network = learn(architecture, given, HEADS, plan, seed)
                found = outputs_of(architecture, network, tested, HEADS)
                print(f"  {name}, seed {seed}: learned", flush=True)
                if path is not None:
                    np.save(path.with_suffix(".part.npy"), found)
                    path.with_suffix(".part.npy").replace(path)
            scores.setdefault(name, []).append(np.load(path) if path is not None else found)
    return {name: np.stack(each) for name, each in scores.items()}


def _kept(options: argparse.Namespace, arm: str, seed: int) -> Path | None:
    if options.folder is None:
        return None
    names = ("patients", "tested", "pixels", "epochs", "learning_rate", "present", "precision")
    asked = [[getattr(options, name) for name in names], arm, seed]
    digest = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]
    options.folder.mkdir(parents=True, exist_ok=True)
    return Path(options.folder / f"{digest}.npy")


def p_values(trial: Trial) -> dict[str, dict[str, float]]:
    """Return DeLong's p of each arm against training without uncertainty, by observation.

    Of the mean of the seeds' scores: one curve for each arm, each picture once.
    """
    means = {name: each.mean(axis=0) for name, each in trial.scores.items()}
    return {
        arm: {
            name: delong(trial.targets[:, i] == 1, means[arm][:, i], means[CERTAIN][:, i])
            for i, name in enumerate(OBSERVATIONS)
        }
        for arm in means
        if arm != CERTAIN
    }


def starts_to_matter(
    p: Mapping[str, Mapping[str, float]], rates: Sequence[float]
) -> dict[str, float | None]:
    """Return by policy the lowest rate at which some observation differs.

    The level is .05 over the number of observations (Bonferroni) at each rate and policy.
    """
    level = 0.05 / len(OBSERVATIONS)
    return {
        policy: next((r for r in sorted(rates) if min(p[f"{policy} {r:g}"].values()) < level), None)
        for policy in POLICIES
    }


def options_of(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--folder", type=Path, help="scores are kept there; a stopped run goes on")
    parser.add_argument("--patients", type=int, default=600)
    parser.add_argument("--tested", type=int, default=600)
    parser.add_argument("--rates", type=float, nargs="+", default=[0.05, 0.15, 0.30])
    parser.add_argument("--present", type=float, default=0.4, help="share of the uncertain")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--pixels", type=int, default=64)
    parser.add_argument("--out", type=Path, help="the line of JSON goes here, too")
    options = parser.parse_args(arguments)
    shape = (1, options.pixels, options.pixels)
    options.precision = precision_of(ResNet50MultiLabel(shape), torch.device("cpu"), Options())
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Train every arm and print what differs."""
    options = options_of(arguments)
    began = time.monotonic()
    chests = draw_chests(options.patients, options.tested, options.pixels)
    scores = scores_of(chests, options)
    tested = np.asarray([each.fold == "test" for each in chests.examples])
    keys = [each.patient_key for each in chests.examples if each.fold == "test"]
    trial = Trial(OBSERVATIONS, chests.truth[tested], keys, scores)
    p = p_values(trial)
    seconds = round(time.monotonic() - began, 1)
    doubts = {f"{r:g}": about(chests, r, options.present) for r in options.rates}
    print(f"SIMULATED chests; uncertain labels (seed 0) {doubts}")
    rows = [
        [
            arm,
            name,
            str(trial.auroc(arm, name)),
            "" if arm == CERTAIN else trial.ahead(arm, CERTAIN, name).signed(),
            "" if arm == CERTAIN else number(p[arm][name]),
        ]
        for arm in scores
        for name in OBSERVATIONS
    ]
    header = ["training", "observation", "AUROC", "ahead of certain", "p (DeLong)"]
    print("\n".join(table(header, rows)))
    matters = starts_to_matter(p, options.rates)
    print(f"lowest rate at which a policy differs (p < .05 / {len(OBSERVATIONS)}): {matters}")
    figures = {
        arm: {
            name: {
                "auroc": vars(trial.auroc(arm, name)),
                "ahead_of_certain": vars(trial.ahead(arm, CERTAIN, name)),
                "p_delong": p.get(arm, {}).get(name),
            }
            for name in OBSERVATIONS
        }
        for arm in scores
    }
    asked = {k: v for k, v in vars(options).items() if not isinstance(v, Path | None)}
    line = json.dumps(
        for_json(
            {
                "data": "SIMULATED chests",
                **asked,
                "uncertain": doubts,
                "seconds": seconds,
                "figures": figures,
                "starts_to_matter": matters,
            }
        )
    )
    if options.out:
        options.out.write_text(line + "\n", encoding="utf-8")
    print(line)


if __name__ == "__main__":
    main()
