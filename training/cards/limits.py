"""Limits that follow from the numbers of a card; each names the numbers that it follows from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

FEW_CASES = 10
"""Positives, or negatives, of the test fold; a figure on fewer says little."""

FEW_PATIENTS = 100
"""Of the test fold; with fewer, intervals are wide. A convention of this card, not a rule."""

CHANCE = 0.5
"""AUROC of a coin."""

Facts = dict[str, Any]


def limits(facts: Facts) -> list[dict[str, Any]]:
    """Return sentences with the numbers from which they follow, the gravest kind first."""
    parts = (
        _simulated, _weights, _altered, _references, _labels,
        _since, _sources, _sizes, _figures, _once,
    )  # fmt: skip
    return [{"limit": text, "numbers": numbers} for part in parts for text, numbers in part(facts)]


Limit = tuple[str, Facts]


def _simulated(facts: Facts) -> Iterator[Limit]:
    data, readers = facts["training_data"]["simulated"], facts["reference_labels"]
    drawn, called = data["studies_of_simulated_scanners"], data["studies_called_simulated"]
    if drawn:
        yield (
            f"SIMULATED IMAGES: {max(drawn, called)} of {data['studies']} studies come from "
            "scanners that call themselves simulated or phantoms. No figure here says anything "
            "about patients.",
            {"simulated": max(drawn, called), "studies": data["studies"]},
        )
    elif called:
        yield (
            f"SIMULATED DATA: {called} of {data['studies']} studies say that something of them is "
            "simulated, in their description or the issuer of their patient, though their scanners "
            "are none that do. What is real of them, the database does not know.",
            {"simulated": called, "studies": data["studies"]},
        )
    if number := data["reports_of_simulated_senders"]:
        yield (
            f"SIMULATED DATA: {number} of {data['reports']} reports come from senders that call "
            "themselves simulated.",
            {"simulated": number, "reports": data["reports"]},
        )
    if number := readers["simulated_readers"]:
        whole = readers["readers"] + readers["adjudicators"]
        yield (
            f"SIMULATED READERS: {number} of {whole} readers and adjudicators call themselves "
            "simulated.",
            {"simulated": number, "readers": whole},
        )


def _weights(facts: Facts) -> Iterator[Limit]:
    if facts["model"]["weights_file"]["intact"] is not True:
        yield "The weights of this model cannot be used as they lie in the data folder.", {}


def _altered(facts: Facts) -> Iterator[Limit]:
    if number := sum(each["altered"] for each in facts["evaluations"]):
        yield (
            f"{number} plans about this model were altered in the database since they were frozen: "
            "nothing is told of them.",
            {"altered": number},
        )


def _references(facts: Facts) -> Iterator[Limit]:
    told = facts["reference_labels"]
    if told["labels"] == 0:
        yield "No label of a reader on the images of the test fold is left.", {"labels": 0}
    elif lacking := told["labels"] - told["deserving"]:
        yield (
            f"{lacking} of {told['labels']} reference labels were not sampled, blinded and "
            "settled: figures that rest on them are agreement with these readers.",
            {"lacking": lacking, "labels": told["labels"]},
        )
    if told["drawn_unequally"]:
        yield (
            "Studies of the test fold were drawn for the readers with unequal probabilities, and "
            "nothing is weighted: figures hold for the mixture that was drawn.",
            {},
        )
    if 0 < told["readers"] < 2:
        yield "One reader alone labelled the test fold.", {"readers": told["readers"]}


def _labels(facts: Facts) -> Iterator[Limit]:
    data = facts["training_data"]
    verdict = data["labeler"]["verdict"]
    if verdict is None:
        yield "No verdict says how well the labeler of the training reports reads.", {}
    elif not verdict["qualified"]:
        number = len(verdict["failings"])
        yield (
            f"The labeler of the training reports did not qualify ({number} failings).",
            {"failings": number},
        )
    if accepted := data["accepted_shortcomings"]:
        yield (
            f"A person accepted labels that are {', '.join(accepted)}.",
            {"accepted": len(accepted)},
        )
    for each in data["uncalibrated"]:
        yield f"No threshold of the labeler was fitted for {each.replace('_', ' ')}.", {}


def _since(facts: Facts) -> Iterator[Limit]:
    told = facts["since_training"]
    for each in told["open_impact_notes"]:
        yield (
            f"Open impact note: the model learned from {each['members']} members of which it is "
            f"now known: {each['cause']}.",
            {"members": each["members"]},
        )
    if told["superseded_members"]:
        number = sum(each["members"] for each in told["superseded_members"])
        causes = ", ".join(f"{e['members']}: {e['cause']}" for e in told["superseded_members"])
        yield (
            f"{number} of {told['members']} members do not stand as they were frozen ({causes}).",
            {"superseded": number, "members": told["members"]},
        )
    for kind in ("erased", "opted_out"):
        if number := told[f"{kind}_members"]:
            how = "were erased" if kind == "erased" else "belong to patients who opted out"
            yield (
                f"{number} members {how} since: counts of the cohort are of those who are left.",
                {f"{kind}_members": number},
            )


def _sources(facts: Facts) -> Iterator[Limit]:
    data = facts["training_data"]
    sites, makers = data["sites"], {each["manufacturer"] for each in data["scanners"]}
    if len(sites) == 1:
        yield "All members come from one site: nothing is known of others.", {"sites": 1}
    elif any(each["test"] and each["train"] for each in sites):
        yield (
            f"The test fold comes from the sites of training ({len(sites)} in all): no external "
            "test.",
            {"sites": len(sites)},
        )
    if len(makers) == 1:
        yield "All images come from scanners of one manufacturer.", {"manufacturers": 1}
    unseen = sum(bool(each["train"]) and not each["test"] for each in data["scanners"])
    if unseen:
        yield (
            f"{unseen} of {len(data['scanners'])} scanner models of training are not in the test "
            "fold.",
            {"not_tested": unseen, "scanners": len(data["scanners"])},
        )


def _sizes(facts: Facts) -> Iterator[Limit]:
    (test,) = (each for each in facts["training_data"]["folds"] if each["fold"] == "test")
    if test["patients"] < FEW_PATIENTS:
        yield (
            f"The test fold holds {test['patients']} patients, fewer than {FEW_PATIENTS}.",
            {"patients": test["patients"], "fewer_than": FEW_PATIENTS},
        )
    for each in facts["results"]["observations"]:
        negatives = each["n"] - each["positives"]
        if min(each["positives"], negatives) < FEW_CASES:
            yield (
                f"{_words(each)}: {each['positives']} positives and {negatives} negatives "
                f"in the test fold, fewer than {FEW_CASES} of one kind.",
                {"positives": each["positives"], "negatives": negatives, "fewer_than": FEW_CASES},
            )


def _figures(facts: Facts) -> Iterator[Limit]:
    for each in facts["results"]["observations"]:
        auroc = each["auroc"]
        if auroc["low"] is not None and auroc["low"] <= CHANCE:
            yield (
                f"{_words(each)}: the interval of AUROC begins at {auroc['low']:.3f}; it "
                "cannot be told from chance.",
                {"low": auroc["low"]},
            )
        for rival in each["baselines"]:
            difference = rival["auroc_difference"]
            if difference["value"] is not None and difference["value"] <= 0:
                yield (
                    f"{_words(each)}: AUROC differs from that of {rival['name']} by "
                    f"{difference['value']:.3f}: the network is not ahead.",
                    {"difference": difference["value"]},
                )
            elif difference["low"] is not None and difference["low"] <= 0:
                yield (
                    f"{_words(each)}: not shown to be ahead of {rival['name']} (difference "
                    f"of AUROC from {difference['low']:.3f}).",
                    {"low": difference["low"]},
                )
        if each["threshold"] is None:
            yield f"{_words(each)}: no operating point, so nothing is called present.", {}


def _words(each: Facts) -> str:
    return str(each["observation"]).replace("_", " ")


def _once(facts: Facts) -> Iterator[Limit]:
    told, seed = facts["results"], facts["model"]["seed"]
    trainings, seeds = told["trainings_of_the_cohort"], told["seeds_of_the_cohort"]
    if trainings > 1:
        yield (
            f"One of {trainings} trainings on this cohort (seeds {', '.join(map(str, seeds))}), "
            f"with seed {seed}. Figures are of this one alone; it may have been chosen for them.",
            {"trainings": trainings, "seeds": seeds, "seed": seed},
        )
    else:
        yield (
            f"One training with one seed ({seed}): how much another seed would change is not "
            "known.",
            {"seed": seed},
        )
    looks = told["trainings_on_the_test_fold"] + told["openings_of_the_test_fold"]
    if looks > 1:
        yield (
            f"The test fold was looked at {looks} times (trainings: "
            f"{told['trainings_on_the_test_fold']}, openings under plans: "
            f"{told['openings_of_the_test_fold']}). Its figures are no first look.",
            {
                "trainings": told["trainings_on_the_test_fold"],
                "openings": told["openings_of_the_test_fold"],
            },
        )
    if facts["model"]["unit"].startswith("one disc"):
        yield "Figures pool the sites of a patient; intervals take patients whole.", {}
