"""Sections of a card about planned evaluations and about the inputs that a model was made for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from training.cards.text import code, estimate, named, plain, table
from training.domain.facts import FIGURES, TERMS

Facts = Mapping[str, Any]

_FIGURES = {
    "auroc": "AUROC",
    "average_precision": "average precision",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
}
_CASES = {"n": "n", "positives": "positives", "patients": "patients"}
_ALL_CASES = {**_CASES, "not_evaluated": "not evaluated"}
_CALIBRATED = {
    "brier": "Brier score",
    "brier_of_prevalence": "Brier score of the prevalence",
    "slope": "slope",
    "intercept": "intercept",
    "calibration_error": "mean gap",
}
_COMPARED = {
    "observation": "finding",
    "first": "model",
    "second": "minus",
    "n": "n",
    "auroc_difference": "difference of AUROC",
    "p": "p (DeLong)",
    "p_note": "note",
}


def evaluations(facts: Facts) -> str:
    """Return every plan about the model with the figures of its newest opening."""
    told = facts["evaluations"]
    if not told:
        return "No plan names this model."
    draws = "Intervals come from a bootstrap of each plan: they differ a little from those above."
    return "\n\n".join([*(_plan(each) for each in told), draws])


def _plan(told: Facts) -> str:
    if told["altered"]:
        return (
            f"### Plan {plain(told['plan'])} {code(told['digest'])}\n\n**It was altered in the "
            "database since it was frozen: nothing is told of it.**"
        )
    pairs = {
        "Frozen": f"{plain(told['frozen_at'])} by {plain(told['frozen_by'])}",
        "Test set": f"{told['studies']} studies, {code(told['test_set'])}",
        "Split": plain(told["split"]) if told["split"] else "by patient alone",
        "Openings": f"{told['openings']}, of which {told['finished']} came to their end",
    }
    head = f"### Plan {plain(told['plan'])} {code(told['digest'])}\n\n"
    if not told["finished"]:
        pairs["Primary figure"] = plain(told["planned_primary"])
        return f"{head}{named(pairs)}\n\nThere are no figures under this plan."
    primary = told["primary"]
    pairs |= {
        "Shown": f"the newest, {plain(told['opened_at'])} by {plain(told['opened_by'])}",
        "Looks": plain(told["looks"] or "the only look at this test set"),
        "Figures are": plain(told["called"]),
        "Primary figure": f"{plain(primary['figure'])} of {plain(primary['observation'])}, "
        f"{plain(primary['of'])}: {estimate(primary)}",
    }
    finding = {"observation": "finding"}
    parts = [
        head + named(pairs),
        table(told["observations"], {**finding, **_ALL_CASES, **_FIGURES}),
        "How far probabilities can be taken at their word:",
        table(told["observations"], {**finding, "n": "n", **_CALIBRATED}),
        "Parts of the test set, each by itself; nothing is corrected for their number:",
        table(
            [each for each in told["subgroups"] if each["patients"] is not None],
            {"attribute": "by", "group": "group", **finding, **_CASES, **_FIGURES, "note": "note"},
        ),
        *_untold(told["subgroups"]),
    ]
    if told["comparison"]:
        parts += ["Two models on the same cases:", table(told["comparison"], _COMPARED)]
    return "\n\n".join(parts)


def _untold(subgroups: Sequence[Facts]) -> list[str]:
    """Return, for each reason, the groups of which no figure is told; all findings of one alike."""
    groups: dict[str, dict[str, None]] = {}
    for each in subgroups:
        if each["patients"] is None:
            attribute, group = each["attribute"], plain(each["group"])
            name = group if group.startswith(f"{attribute} ") else f"{attribute} {group}"
            groups.setdefault(each["note"], {})[name] = None
    return [f"{plain(note)}: {', '.join(names)}." for note, names in groups.items()]


def domain(facts: Facts) -> str:
    """Return which inputs the model was made for, and that it abstains on others."""
    told = facts["domain"]
    if told is None:
        return "The training did not record it: this model predicts on whatever can be read."
    inputs, beyond = told["inputs"], told["abstained"]
    pairs = {
        **{_capital(TERMS[key]): plain(value) for key, value in told["terms"].items()},
        **{_capital(FIGURES[key]): _range(value) for key, value in told["ranges"].items()},
        "Pixels": plain(told["pixels"] or "compared with those of the training fold"),
        "Would abstain": f"{beyond['validation']} of {inputs['validation']} inputs of validation, "
        f"{beyond['test']} of {inputs['test']} of test",
    }
    return (
        "Learned from headers and pixels of training and validation. An input that differs gets no "
        f"probability but a reason.\n\n{named(pairs)}"
    )


def _range(values: list[float]) -> str:
    low, high = values
    return plain(low) if low == high else f"{plain(low)} to {plain(high)}"


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]
