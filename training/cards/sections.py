"""The sections of a card in Markdown, in order; each reads the dict of the card alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from training.cards.data_sections import data, labeler, references
from training.cards.evaluation_section import domain, evaluations
from training.cards.result_sections import performance, thresholds
from training.cards.text import code, listed, named, plain, table

Facts = Mapping[str, Any]
Section = Callable[[Facts], str]


def _what(facts: Facts) -> str:
    told = facts["model"]
    given, file, source = told["input"], told["weights_file"], told["code"]
    pairs = {
        "Model": code(told["reference"]),
        "Architecture": code(told["architecture"]),
        "Input": f"{plain(given['kind'])}, {_shape(given['shape'])}, "
        f"prepared as {code(given['preparation'])}"
        if given
        else "not recorded",
        "Output": plain(told["output"]),
        "Unit of a prediction": plain(told["unit"]),
        "Weights (SHA-256)": code(told["weights_sha256"]),
        "File of weights": _file(file),
        "Began with weights (SHA-256)": code(told["began_with_weights"])
        if told["began_with_weights"]
        else "no file is recorded",
        "Device UID": code(told["device_uid"]),
        "Label schema": f"{code(told['schema']['name'])} {code(told['schema']['digest'])}",
        "Code": f"radloop {plain(source['version'])}, source at training "
        f"{code(source['source_sha256_at_training'])}, at freezing "
        f"{code(source['source_sha256_at_freezing'])}",
        "Libraries": plain(told["libraries"]),
        "Precision of training steps": plain(told["precision"]),
        "Seed": plain(told["seed"]),
        "Epochs": f"{plain(told['epochs'])}, kept: {plain(told['best_epoch'])}",
        "Trained": f"{plain(told['trained_at'])}, {plain(told['training_seconds'])} s",
        "Registered": plain(told["registered_at"]),
        "License": plain(told["license"]),
    }
    columns = {"id": "id", "name": "finding", "definition": "definition", "code": "code"}
    columns["sites_with_targets"] = "sites with targets"
    parts = [named(pairs), table(told["observations"], columns)]
    if told["settings"]:
        parts.append(f"Settings of the training: {plain(told['settings'])}.")
    return "\n\n".join(parts)


def _shape(values: list[int] | None) -> str:
    return f"shape {' x '.join(map(str, values))}" if values else "shape not recorded"


def _file(file: Mapping[str, Any]) -> str:
    if not file["present"]:
        return "**not in the data folder**"
    if not file["intact"]:
        return "**not the file that was registered, or none that can be read**"
    kept = f"{file['numbers']} numbers ({plain(file['types'])}), {file['bytes']} bytes"
    return (
        f"{kept}, as registered. A logit loses its offset ({plain(file['offsets'])}), which undoes "
        f"what rare positives weighed in the loss, and is divided by {plain(file['temperature'])}"
    )


def _use(facts: Facts) -> str:
    told = facts["intended_use"]
    pairs = {
        "Purpose": plain(told["purpose"]),
        "Users": plain(told["users"]),
        "Examinations": f"{plain(told['modality'])} of "
        f"{plain(told['body_parts']) if told['body_parts'] else 'what the rule for series takes'}",
        "Series": _series(told),
        "Findings": plain(told["findings"]),
        "Person in the loop": plain(told["person_in_the_loop"]),
    }
    beyond = listed([plain(each) for each in told["out_of_scope"]])
    return f"{named(pairs)}\n\nOut of scope:\n\n{beyond}"


def _series(told: Mapping[str, Any]) -> str:
    parts = []
    if told["series_rule"]:
        rule = told["series_rule"]
        parts.append(f"rule {code(rule['name'])} {code(rule['digest'])}")
    if told["series_description"]:
        parts.append(f"description contains {code(told['series_description'])}")
    if told["sequences"]:
        parts.append("description is one of " + ", ".join(code(e) for e in told["sequences"]))
    return "; ".join(parts) or "any of this modality and part of the body"


def _stages(facts: Facts) -> str:
    told, since = facts["stages"], facts["since_training"]
    return "\n\n".join(
        [
            f"Stage now: **{plain(told['now'])}**. Studies predicted: {told['studies_predicted']}.",
            table(told["events"]),
            "Open impact notes (members that the model learned from and that do not stand):",
            table(since["open_impact_notes"]),
            "Notes that a person closed:",
            table(since["closed_impact_notes"]),
            f"Members of the cohort that stand no more, of {since['members']}:",
            table(since["superseded_members"]),
            f"Erased members: {since['erased_members']}. Members of patients who opted out: "
            f"{since['opted_out_members']}.",
        ]
    )


def _limits(facts: Facts) -> str:
    return listed([plain(each["limit"]) for each in facts["limits"]])


def _missing(facts: Facts) -> str:
    return table(facts["missing"])


def _checklists(facts: Facts) -> str:
    heads = {"number": "item", "asks": "asks for", "state": "state"}
    heads |= {"where": "where in this card", "lacks": "not in this card"}
    parts = []
    for each in facts["checklists"]:
        parts.append(
            f"### {plain(each['name'])}\n\n{plain(each['source'])}. Items: {plain(each['counts'])}."
        )
        rows = [
            {**item, "where": ", ".join(_TITLES[key] for key in item["where"])}
            for item in each["items"]
        ]
        parts.append(table(rows, heads))
    return "\n\n".join(parts)


_TITLES = {
    "limits": "Limits",
    "model": "What the model is",
    "intended_use": "Intended use",
    "domain": "Inputs that it was made for",
    "training_data": "Training data",
    "reference_labels": "Reference labels of the test fold",
    "results": "Results on the test fold",
    "operating_points": "Operating points",
    "evaluations": "Planned evaluations",
}
"""Of the parts of a card to which items of guidelines point."""

SECTIONS: tuple[tuple[str, Section], ...] = (
    (_TITLES["limits"], _limits),
    (_TITLES["model"], _what),
    (_TITLES["intended_use"], _use),
    (_TITLES["domain"], domain),
    (_TITLES["training_data"], data),
    ("Labeler of the training reports", labeler),
    (_TITLES["reference_labels"], references),
    (_TITLES["results"], performance),
    (_TITLES["operating_points"], thresholds),
    (_TITLES["evaluations"], evaluations),
    ("What is missing and why", _missing),
    ("Stages, and what changed since", _stages),
    ("Reporting guidelines", _checklists),
)
"""Titles and what writes them."""


def markdown(facts: Facts) -> str:
    """Return a card as Markdown (CommonMark with tables)."""
    head = [
        f"# Model card: {plain(facts['model']['reference'])}",
        f"**{facts['research_use']}**",
    ]
    if facts["training_data"]["simulated"]["any"] or facts["reference_labels"]["simulated_readers"]:
        head.append("**SIMULATED: this card rests on simulated data or readers; see Limits.**")
    made = facts["generated_by"]
    head.append(
        f"Made {plain(facts['generated_at'])} by radloop {plain(made['version'])} "
        f"({code(made['source_sha256'])}) from the database and the stored files; no figure was "
        f"typed. Form {facts['form']} {facts['form_version']}; `card.json` holds every figure. "
        f"Texts from which something was removed: {facts['texts_with_removals']}."
    )
    body = [f"## {title}\n\n{section(facts)}" for title, section in SECTIONS]
    return "\n\n".join([*head, *body]) + "\n"
