"""Sections of a card that show figures, and the pictures in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.cards.text import plain, table

_RANKED = {"auroc": "AUROC", "average_precision": "average precision"}
_DECIDED = {
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
}
_FINDING = {"observation": "finding"}
_CASES = {"n": "n", "positives": "positives", "patients": "patients"}


def performance(facts: Mapping[str, Any]) -> str:
    """Return the figures of the test fold, the baselines beside them, and the pictures."""
    told = facts["results"]
    rows = told["observations"]
    coverage, draws = plain(told["coverage_percent"]), plain(told["bootstrap_samples"])
    compared = [{"finding": row["observation"], **e} for row in rows for e in row["baselines"]]
    ranked = {**_FINDING, **_CASES, **_RANKED}
    difference = {"auroc_difference": "difference of AUROC"}
    parts = [
        f"{plain(told['fold'])}. Intervals of {coverage} %: {plain(told['intervals'])}, "
        f"{draws} draws. Inputs that could not be made are in no figure; training data count "
        "them.",
        table(rows, ranked),
        "At the operating point:",
        table(rows, {**_FINDING, "threshold": "threshold", **_DECIDED}),
        "Baselines on the cases that both evaluated; the difference is this model minus the "
        "baseline:",
        table(
            compared,
            {"finding": "finding", "name": "baseline", "n": "n", **_RANKED, **difference},
        ),
    ]
    if told["macro"]:
        parts += ["Means over the findings that have a value:", _macro(told["macro"])]
    parts += [_reliability(rows)] if any(row["reliability"] for row in rows) else []
    return "\n\n".join([*parts, _pictures(facts)])


def _macro(macro: Mapping[str, Any]) -> str:
    names = {**_RANKED, **_DECIDED}
    return table(
        {"figure": names[key], "mean": macro[key]["value"], "findings": macro[key]["observations"]}
        for key in names
        if key in macro
    )


def _reliability(rows: list[dict[str, Any]]) -> str:
    lines = [
        {"finding": row["observation"], **each, "share": each["positives"] / each["n"]}
        for row in rows
        for each in row["reliability"] or ()
        if each["n"]
    ]
    heads = {"finding": "finding", "low": "from", "high": "to", "n": "n", "positives": "positives"}
    heads["mean_probability"] = "mean probability"
    return f"Reliability, cases by predicted probability:\n\n{table(lines, heads)}"


def _pictures(facts: Mapping[str, Any]) -> str:
    return "\n\n".join(
        f"![{plain(each['shows'])}]({each['file']})\n\n*{plain(each['shows'])}*"
        if each["file"]
        else f"{plain(each['shows'])}: no picture, {plain(each['why'])}."
        for each in facts["pictures"]
    )


def thresholds(facts: Mapping[str, Any]) -> str:
    """Return the thresholds and how they were chosen."""
    told = facts["operating_points"]
    return f"Chosen by {plain(told['chosen_by'])}.\n\n{table(told['points'])}"
