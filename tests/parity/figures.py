"""Tables and verdicts of the parity experiment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.acceptance.readings import number, table
from tests.acceptance.rivals import Trial
from tests.parity.classifiers import AUTOMATIC, HUMAN, SOURCES, regression_on
from tests.parity.gradings import TARGETS, GradedPatient, Place
from tests.parity.notes import Note
from tests.parity.rates import Rate

LOWEST = -0.04
"""The lower end of the paired difference must lie above it, for every target."""
WITHIN, AT_LEAST = 0.02, 2
"""The difference itself must be no larger, for at least so many targets."""


@dataclass(frozen=True)
class Achieved:
    """How the automatic labels agree with the gradings, for one target."""

    positives: int
    negatives: int
    sensitivity: float
    specificity: float
    missing: int
    errors_by_manner: Mapping[str, int]


def achieved(
    patients: Sequence[GradedPatient],
    notes: Mapping[str, Note],
    labels: Mapping[str, Mapping[Place, bool]],
) -> dict[str, Achieved]:
    """Return the agreement by target, over every level of every patient; a miss is no label."""
    found = {}
    for target in TARGETS:
        right = {True: 0, False: 0}
        count = {True: 0, False: 0}
        missing = 0
        errors: dict[str, int] = {}
        for patient in patients:
            for place, truth in patient.truth.items():
                if place[0] != target:
                    continue
                said = labels.get(patient.name, {}).get(place)
                missing += said is None
                if said is None:
                    continue
                count[truth] += 1
                right[truth] += said is truth
                if said is not truth:
                    manner = notes[patient.name].manners[place]
                    word = f"{'finding' if truth else 'normal'}, {manner}"
                    errors[word] = errors.get(word, 0) + 1
        found[target] = Achieved(
            count[True],
            count[False],
            right[True] / count[True] if count[True] else float("nan"),
            right[False] / count[False] if count[False] else float("nan"),
            missing,
            dict(sorted(errors.items())),
        )
    return found


def lines_of_rates(wanted: Mapping[str, Rate], found: Mapping[str, Achieved]) -> Iterator[str]:
    """Yield a table of wanted and achieved rates, and where the errors come from."""
    rows = [
        [
            target,
            f"{wanted[target].condition} ({wanted[target].positives} levels)",
            f"{each.positives}/{each.positives + each.negatives}",
            number(wanted[target].sensitivity),
            number(each.sensitivity),
            number(wanted[target].specificity),
            number(each.specificity),
            str(each.missing),
        ]
        for target, each in found.items()
    ]
    header = "target|rates of|positive|sens wanted|achieved|spec wanted|achieved|no label"
    yield from table(header.split("|"), rows)
    for target, each in found.items():
        yield f"wrong labels of {target}: {dict(each.errors_by_manner)}"


def lines_of_trial(trial: Trial) -> Iterator[str]:
    """Yield the table of one kind of crops."""
    rows = []
    for place, name in enumerate(TARGETS):
        target = trial.targets[:, place]
        rows.append(
            [
                name,
                f"{int(target.sum())}/{len(target)}",
                *(str(trial.auroc(method, name)) for method in trial.scores),
                trial.ahead(AUTOMATIC, HUMAN, name).signed(),
                *(trial.ahead(each, regression_on(each), name).signed() for each in SOURCES),
            ]
        )
    header = ["target", "positive", *trial.scores, f"{AUTOMATIC} ahead of {HUMAN}"]
    header += [f"{each} ahead of its regression" for each in SOURCES]
    yield from table(header, rows)


def verdict_of(trial: Trial) -> dict[str, Any]:
    """Return whether the classifier on automatic labels keeps up with the one on gradings."""
    ahead = {name: trial.ahead(AUTOMATIC, HUMAN, name) for name in TARGETS}
    close = sum(abs(each.value) <= WITHIN for each in ahead.values())
    lows = {name: each.low > LOWEST for name, each in ahead.items()}
    return {
        f"lower_bound_above_{LOWEST}": lows,
        f"targets_within_{WITHIN}": close,
        "kept": all(lows.values()) and close >= AT_LEAST,
    }


def json_of_trial(trial: Trial) -> dict[str, Any]:
    """Return the figures of a trial as values of JSON."""
    return {
        name: {
            "auroc": {method: vars(trial.auroc(method, name)) for method in trial.scores},
            "automatic_ahead_of_human": vars(trial.ahead(AUTOMATIC, HUMAN, name)),
            "ahead_of_regression": {
                each: vars(trial.ahead(each, regression_on(each), name)) for each in SOURCES
            },
        }
        for name in TARGETS
    }
