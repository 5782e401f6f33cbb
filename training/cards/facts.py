"""A model card as a dict for JSON: everything that the Markdown and the pictures show."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

from training.cards.checklist import checklists
from training.cards.cohort_facts import training_data
from training.cards.description import RESEARCH_USE, domain, intended_use, model
from training.cards.evaluations import evaluations
from training.cards.events import since_training, stages
from training.cards.limits import limits
from training.cards.privacy import redacted
from training.cards.references import reference_labels
from training.cards.results import missing, operating_points, results
from training.cards.subject import Subject

FORM = "radloop-model-card"
FORM_VERSION = 1
"""Of the JSON; it grows with every change that a reader of it has to know of."""

PARTS: Mapping[str, Callable[[Subject], Any]] = {
    "model": model,
    "intended_use": intended_use,
    "domain": domain,
    "training_data": training_data,
    "reference_labels": reference_labels,
    "results": results,
    "operating_points": operating_points,
    "evaluations": evaluations,
    "missing": missing,
    "stages": stages,
    "since_training": since_training,
}
"""The parts of a card that are read from the database and the stored files, by their key.

A part more is an entry here and a section in ``training.cards.sections.SECTIONS``; the items of the
checklists name what it answers.
"""


def card_facts(subject: Subject, now: dt.datetime, code: Mapping[str, str]) -> dict[str, Any]:
    """Return the card of a model, JSON-ready, with nothing in it that identifies a patient.

    Args:
        subject: the model and its grounds.
        now: the time of the card.
        code: version and source digest of what writes it.
    """
    facts: dict[str, Any] = {
        "form": FORM,
        "form_version": FORM_VERSION,
        "research_use": RESEARCH_USE,
        "generated_at": now.isoformat(),
        "generated_by": dict(code),
        **{key: part(subject) for key, part in PARTS.items()},
    }
    facts, removed = redacted(subject.session, facts)
    facts["texts_with_removals"] = removed
    facts["limits"] = limits(facts)
    facts["checklists"] = checklists(facts)
    return facts
