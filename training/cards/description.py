"""What the model is and what it is for."""

from __future__ import annotations

import hashlib
import json
from math import prod
from typing import Any

from labeling.vocabulary import Code
from training.cards.subject import FreeText, Subject

RESEARCH_USE = (
    "Research use only. Not a medical device, not for clinical decisions: nothing in this card is "
    "a claim about the diagnosis or treatment of any person."
)

OUT_OF_SCOPE = (
    "Diagnosis, triage, screening, second reading, or any other decision about a person.",
    "Ruling a finding out: a probability below the operating point is not a negative report.",
    "Findings and sites that are not listed here, and severity or course of those that are.",
    "Examinations of another modality or part of the body, or series that the rule does not take.",
    "Scanners, sites and groups of patients that the tables of training data do not show.",
)


def model(subject: Subject) -> dict[str, Any]:
    """Return what identifies and makes up the model."""
    run, row, record = subject.run, subject.model, subject.record
    file, about = _weights(subject)
    architecture = record.get("architecture") or {}
    recorded = record.get("code") or {}
    frozen = subject.cohort.provenance.get("code") or {}
    return {
        "name": row.name,
        "version": row.version,
        "reference": row.reference,
        "weights_sha256": row.weights_digest,
        "weights_file": file,
        "device_uid": row.device_uid,
        "registered_at": row.registered_at.isoformat(),
        "architecture": architecture.get("name") or run.classifier,
        "input": _input(record, about),
        "began_with_weights": architecture.get("weights_digest") or None,
        "output": "a probability of presence for each observation, calibrated by temperature on "
        "the validation fold, and present or absent by the operating point",
        "unit": _unit(architecture.get("kind", "disc")),
        "observations": _observations(subject),
        "schema": {"name": row.schema_name, "digest": row.schema_digest},
        "code": {
            "version": run.code_version,
            "source_sha256_at_training": recorded.get("source_sha256"),
            "source_sha256_at_freezing": frozen.get("source_sha256"),
        },
        "libraries": record.get("libraries"),
        "precision": record.get("precision"),
        "seed": run.seed,
        "epochs": len(run.curve),
        "best_epoch": record.get("best_epoch", about.get("best_epoch")),
        "settings": _settings(record.get("settings")),
        "trained_at": run.finished_at.isoformat(),
        "training_seconds": round((run.finished_at - run.started_at).total_seconds()),
        "license": None,
    }


def intended_use(subject: Subject) -> dict[str, Any]:
    """Return in careful words what the model may be used for: research within its training."""
    query = subject.cohort.query
    rule = query.get("series_rule") or {}
    names = [each["name"] for each in _observations(subject)]
    schema = subject.schema
    # A rule for series decides alone.
    parts = query.get("body_parts") or (list(schema.body_parts) if schema and not rule else [])
    return {
        "purpose": "Research into whether images alone show what radiology reports say, on "
        "examinations like those of the cohort that it was trained on.",
        "users": "Researchers who know the limits named here.",
        "modality": query["modality"],
        "body_parts": parts,
        "series_rule": rule or None,
        "series_description": FreeText(query.get("series_description", "")) or None,
        "sequences": [FreeText(each) for each in query.get("sequences", [])],
        "findings": names,
        "out_of_scope": list(OUT_OF_SCOPE),
        "person_in_the_loop": "A person who knows the field reads every output; none is acted on.",
    }


def domain(subject: Subject) -> dict[str, Any] | None:
    """Return what the inputs of the training were like (``training.domain``); None: not recorded.

    It holds terms and ranges alone, none of one study.
    """
    found: dict[str, Any] | None = subject.record.get("domain")
    return found


def _unit(kind: str) -> str:
    return "one disc level of a study" if kind == "disc" else "one study"


def _input(record: dict[str, Any], about: dict[str, Any]) -> dict[str, Any] | None:
    """Return what the training recorded of the input; of earlier ones, what the weights say."""
    architecture = record.get("architecture")
    if architecture:
        return {
            "kind": architecture["kind"],
            "shape": architecture["input_shape"],
            "preparation": architecture["preparation"],
        }
    given = record.get("input") or {}
    found = given.get("localiser") or about.get("provenance", {}).get("disc_localiser")
    if not found:
        return None
    return {
        "kind": "disc",
        "shape": given.get("input_shape"),
        "preparation": f"discs found by {found['name']} {found['digest'][:16]}",
    }


def _observations(subject: Subject) -> list[dict[str, Any]]:
    """Return what is told, with names and codes where the schema is known, and the sites."""
    known = {each.id: each for each in subject.schema.observations} if subject.schema else {}
    targets = [each.targets for each in subject.members]
    found = []
    for name in subject.observations:
        each = known.get(name)
        sites = dict.fromkeys(site for given in targets for site in given.get(name, {}))
        found.append(
            {
                "id": name,
                "name": each.name if each else name.replace("_", " "),
                "definition": each.definition if each else None,
                "code": _code(each.code) if each else None,
                "sites_with_targets": list(sites),
            }
        )
    return found


def _code(code: Code) -> str:
    return f"{code.value} {code.scheme}" + (" (unconfirmed)" if code.unconfirmed else "")


def _settings(given: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the settings of the training without paths of the machine.

    The classifier that they name is not what an architecture was.
    """
    if given is None:
        return None
    learning = {key: value for key, value in given["learning"].items() if key != "weights"}
    left = {key: value for key, value in given.items() if key != "classifier"}
    return {**left, "learning": learning}


def _weights(subject: Subject) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return facts of the file of the weights, and what it says of itself.

    A file that is not the registered one says nothing.
    """
    from safetensors import SafetensorError, safe_open

    told: dict[str, Any] = dict.fromkeys(("numbers", "types", "temperature", "offsets", "bytes"))
    told |= {"present": subject.weights.exists(), "intact": False}
    try:
        with subject.weights.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        if digest != subject.model.weights_digest:
            return told, {}
        with safe_open(subject.weights, framework="numpy") as file:
            slices = [file.get_slice(name) for name in list(file.keys())]
            about = _about(file.metadata() or {})
    except (OSError, SafetensorError, ValueError):
        return told, {}
    outputs = about.get("observations") or about.get("heads", {}).get("observations", [])
    return told | {
        "intact": True,
        "numbers": sum(prod(each.get_shape()) for each in slices),
        "types": sorted({each.get_dtype() for each in slices}),
        "temperature": about.get("temperature"),
        "offsets": dict(zip(outputs, about.get("offsets", []), strict=False)),
        "bytes": subject.weights.stat().st_size,
    }, about


def _about(metadata: dict[str, str]) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(metadata.get("classifier") or metadata.get("network") or "{}")
    return told
