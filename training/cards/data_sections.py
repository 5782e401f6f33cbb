"""Sections of a card about data: the cohort, the labeler, the reference labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.cards.text import code, escaped, named, plain, table

Facts = Mapping[str, Any]


def data(facts: Facts) -> str:
    """Return the cohort: query, folds, targets, patients, scanners, sites, who was left out."""
    told = facts["training_data"]
    pairs = {
        "Cohort": f"{plain(told['cohort'])} {code(told['digest'])}, frozen "
        f"{plain(told['frozen_at'])}",
        "Query": plain(told["query"]),
        "Split": plain(told["leak_tests"]["split"]),
        "Tested beside the folds": _split(told["split"]),
        "Pictures compared": plain(told["leak_tests"]["pictures"]),
        "Suspected persons accepted": plain(told["accepted_suspects"]),
        "What uncertain labels became": plain(told["uncertain_policy"]),
        "Share of soft targets in training": plain(told["soft_share_of_training_targets"]),
        "Accepted shortcomings": plain(told["accepted_shortcomings"]),
        "Without fitted threshold": plain(told["uncalibrated"]),
        "Not judged by the verdict": plain(told["unjudged"]),
        "Years of the studies": f"{told['years']['first']} to {told['years']['last']}"
        if told["years"]
        else "not known",
        "Examples": plain(told["examples"]),
        "Members frozen since and left out": plain(told["left_out_frozen"]),
    }
    return "\n\n".join(
        [
            named(pairs),
            table(told["folds"]),
            "Targets and patients (one with the finding at one site and without it at another "
            "counts on both sides):",
            table(told["targets"]),
            "Patients:",
            table(told["demographics"]),
            "Scanners, studies by fold:",
            table(told["scanners"]),
            "Sites, studies by fold:",
            table(told["sites"]),
            f"Data that call themselves simulated: {plain(told['simulated'])}.",
            f"Studies that the cohort left out: {told['excluded_studies']}.",
            table(told["exclusions"]),
            f"Members of which images were not, or not wholly, used: {told['members_not_used']}.",
            table(told["not_used"]),
        ]
    )


def _split(split: Mapping[str, str]) -> str:
    """Return a split in words."""
    if not split:
        return "no split by time or site"
    ((kind, value),) = split.items()
    return f"at {plain(value)}, which trained nothing" if kind == "site" else plain(value)


def labeler(facts: Facts) -> str:
    """Return which labeler read the training reports, and the verdict on it."""
    told = facts["training_data"]["labeler"]
    fitted, verdict = told["calibration"], told["verdict"]
    pairs = {
        "Labeler": code(told["name"]),
        "Model": plain(told["model"]),
        "Model and adapter (SHA-256)": code(told["model_and_adapter_digest"]),
        "Questions (SHA-256)": code(told["questions_digest"]),
        "Questions and calibration (SHA-256)": code(told["prompt_digest"]),
        "Calibration (SHA-256)": code(told["calibration_digest"]),
        "Calibrated on": plain(fitted) if fitted else "nothing: uncalibrated",
    }
    if verdict is None:
        return named({**pairs, "Verdict": "none on this labeler with this calibration"})
    pairs |= {
        "Verdict": "qualified" if verdict["qualified"] else "**not qualified**",
        "Measured": f"{plain(verdict['measured_at'])} by {plain(verdict['measured_by'])}, on "
        f"{plain(verdict['reports'])} reports; {plain(verdict['rests_on'])}; "
        f"{plain(verdict['judged_by'])}",
        "Criteria": plain(verdict["criteria"]),
        "Mean balanced accuracy": plain(verdict["mean_balanced_accuracy"]),
        "Failings": "; ".join(map(escaped, verdict["failings"])) or "none",
    }
    heading = "Agreement with readers of the reports (low, high: interval of balanced accuracy):"
    return f"{named(pairs)}\n\n{heading}\n\n{table(verdict['agreement'])}"


def references(facts: Facts) -> str:
    """Return how the reference labels of the test fold came to be."""
    told = facts["reference_labels"]
    between = told["between_readers"]
    pairs = {
        "Labels": f"{told['labels']} on {told['studies']} studies, of which {told['deserving']} "
        "were sampled, blinded and settled",
        "Lacking": "; ".join(f"{e['count']} {plain(e['reason'])}" for e in told["lacking"])
        or "none",
        "Readers": f"{told['readers']}, adjudicators {told['adjudicators']}, "
        f"readings {told['readings']}, adjudicated labels {told['adjudicated']}",
        "Readers that call themselves simulated": plain(told["simulated_readers"]),
        "Blinded to machines (readings)": plain(told["blinded"]),
        "Read by several": f"{between['places_read_by_several']}, all agreed on "
        f"{between['agreed']} ({plain(between['share_agreed'])})",
    }
    return "\n\n".join([named(pairs), table(told["states"]), "Samples:", table(told["samples"])])
