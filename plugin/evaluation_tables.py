"""The figures of an evaluation as flat rows for a screen; --json has all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from training.evaluation.subgroups import FEW_PATIENTS
from training.metrics import DECIDED, RANKED

Row = dict[str, Any]


def tables_of(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``show_plan`` answers as lines and tables.

    Reliability bins and ROC curves stay out; what changed of a test set is listed.
    """
    figures = found["figures"]
    content = found["content"]
    shown: dict[str, Any] = {
        "plan": found["plan"],
        "digest": found["digest"],
        "frozen": f"by {found['frozen_by']} at {found['frozen_at']}",
        "test_set": f"{content['test_set'][:12]}: {content['studies']} studies of "
        f"{content['patients']} patients",
        "operating_point": content["operating_point"],
        "openings": found["openings"],
    }
    if found["test_set_now"]:
        shown["test_set_changed"] = found["test_set_now"]
    if not figures:
        return shown
    several = len(figures["models"]) > 1
    return {
        **shown,
        "opening": found["opening"],
        "looks": found["looks"]["sentence"] or "the only look at this test set",
        "called": figures["called"],
        "primary": [_flat(figures["primary"])],
        "figures": [row for each in figures["models"] for row in _figures(each, several)],
        "calibration": [row for each in figures["models"] for row in _calibration(each, several)],
        **_comparison(figures["comparison"]),
        **_subgroups(figures["models"]),
    }


def _figures(model: Mapping[str, Any], several: bool) -> Iterator[Row]:
    for name, each in model["observations"].items():
        yield {
            **_whose(model, several),
            "observation": name,
            **{key: each[key] for key in ("n", "positives", "patients", "not_evaluated")},
            "threshold": each["threshold"],
            **_spread(each, (*RANKED, *DECIDED)),
        }


def _calibration(model: Mapping[str, Any], several: bool) -> Iterator[Row]:
    for name, each in model["calibration"].items():
        yield {
            **_whose(model, several),
            "observation": name,
            "n": each["n"],
            **_spread(each, ("brier",)),
            "brier_of_prevalence": each["brier_of_prevalence"],
            **_spread(each, ("slope", "intercept")),
            "calibration_error": each["calibration_error"],
        }


def _comparison(comparison: Mapping[str, Any]) -> dict[str, Any]:
    if not comparison:
        return {}
    rows = [
        {
            "observation": name,
            "figure": figure,
            "n": each["n"],
            "first": each["first"][figure],
            "second": each["second"][figure],
            "difference": difference["value"],
            "low": difference["low"],
            "high": difference["high"],
            "p_delong": each["p_delong"] if figure == "auroc" else None,
            "p_note": each.get("p_note", "") if figure == "auroc" else "",
        }
        for name, each in comparison["observations"].items()
        for figure, difference in each["difference"].items()
    ]
    return {"compared": f"{comparison['first']} - {comparison['second']}", "comparison": rows}


def _subgroups(models: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a table for each attribute, and the groups of which too few patients are there."""
    tables: dict[str, list[Row]] = {}
    untold: dict[str, list[str]] = {}
    for model in models:
        for each in model["subgroups"]:
            if each["patients"] is None:
                group = f"{each['attribute']} {each['group']}"
                if group not in untold.setdefault(each["note"], []):
                    untold[each["note"]].append(group)
                continue
            row = {
                **_whose(model, len(models) > 1),
                **{key: each[key] for key in ("group", "observation", "n", "positives")},
                **_spread(each, ("auroc", "sensitivity", "specificity")),
                "few": each["note"].removeprefix(FEW_PATIENTS).removesuffix(" the finding"),
            }
            tables.setdefault(f"by_{each['attribute']}", []).append(row)
    return {**tables, **({"groups_not_told": untold} if untold else {})}


def _whose(model: Mapping[str, Any], several: bool) -> Row:
    """Return the model as a column, where rows of several stand together."""
    return {"model": model["model"]} if several else {}


def _flat(primary: Mapping[str, Any]) -> Row:
    return {key: value for key, value in primary.items() if key != "reason" or value}


def _spread(of: Mapping[str, Any], names: tuple[str, ...]) -> Row:
    return {
        key: of[name][part]
        for name in names
        for key, part in ((name, "value"), (f"{name}_low", "low"), (f"{name}_high", "high"))
    }
