"""The final tables of the demonstration; every number in them stands in summary.json."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from labeling.vocabulary import State

_STATES = [str(state) for state in State if state is not State.STABLE_UNKNOWN]


def print_summary(summary: dict[str, Any], console: Console) -> None:
    """Print what happened, how the labels agree, and how good the classifier is."""
    console.print(_counts(summary))
    console.print(_labels(summary))
    console.print(_classifier(summary))
    seconds = summary["seconds"]
    console.print("seconds: " + ", ".join(f"{stage} {took:.0f}" for stage, took in seconds.items()))


def _counts(summary: dict[str, Any]) -> Table:
    table = Table(title="What happened (everything is simulated)", title_justify="left")
    table.add_column("")
    table.add_column("")
    links, reports, cohort, sr = (summary[key] for key in ("links", "reports", "cohort", "sr"))
    states = ", ".join(f"{name} {number}" for name, number in links["by_state"].items())
    folds = ", ".join(f"{name} {number}" for name, number in cohort["folds"].items())
    reasons = "; ".join(f"{number} {reason}" for reason, number in cohort["exclusions"].items())
    for name, value in (
        ("archive", summary["archive"]),
        ("studies, instances", f"{summary['studies']}, {summary['instances']:,}"),
        ("messages", f"{summary['messages']}"),
        ("links", states),
        ("wrong links", f"{links['wrong']}"),
        (
            "reports that must stay unlinked",
            f"{reports['unlinked_expected']} of {reports['sent_to_stay_unlinked']} are",
        ),
        ("cohort members", f"{cohort['members']} ({folds})"),
        ("cohort exclusions", reasons or "none"),
        ("labeler that trained", summary["labeler"]["reason"]),
        ("structured reports", f"{sr['delivered']} delivered of {sr['predicted_studies']}"),
    ):
        table.add_row(name, value)
    return table


def _labels(summary: dict[str, Any]) -> Table:
    table = Table(
        title="Labels of whole reports, and their agreement with what the texts say",
        title_justify="left",
    )
    for column in ("labeler", "observation", *_STATES, "bal. acc.", "macro F1", "accuracy"):
        table.add_column(column)
    for labeler, observations in summary["labels"].items():
        for name, row in observations.items():
            states = (str(row["states"].get(state, 0)) for state in _STATES)
            figures = (row["balanced_accuracy"], row["macro_f1"], row["accuracy"])
            cells = (f"{value:.2f}" for value in figures)
            table.add_row(labeler, name, *states, *cells)
    return table


def _classifier(summary: dict[str, Any]) -> Table:
    table = Table(
        title="Classifier on discs of held-out patients, against the truth of their images",
        title_justify="left",
    )
    columns = ("observation", "n", "pos.", "AUROC (95 %)", "bal. acc.", "macro F1")
    for column in (*columns, "logistic regression"):
        table.add_column(column)
    for name, row in summary["classifier"]["observations"].items():
        table.add_row(
            name,
            str(row["n"]),
            str(row["positives"]),
            interval(row["auroc"]),
            _value(row["balanced_accuracy"]),
            _value(row["macro_f1"]),
            *(interval(baseline["auroc"]) for baseline in row["baselines"].values()),
        )
    return table


def interval(figure: dict[str, Any]) -> str:
    """Return a figure with its interval, or the reason why there is none."""
    if figure["value"] is None:
        return str(figure["reason"])
    if figure["low"] is None:
        return f"{figure['value']:.2f} (too few for an interval)"
    return f"{figure['value']:.2f} ({figure['low']:.2f}-{figure['high']:.2f})"


def _value(figure: dict[str, Any]) -> str:
    return "-" if figure["value"] is None else f"{figure['value']:.2f}"
