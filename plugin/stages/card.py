"""Stage: a model card is written from the last commit and the stored files; nothing is changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlmodel import Session

from dicom_node.database import utc_now
from labeling.schema_file import schema_of
from plugin.folders import DataFolder
from plugin.settings import Settings
from plugin.source_digest import code_identity
from plugin.stages.ground import ground_of
from training.cards.facts import card_facts
from training.cards.subject import subject_of
from training.cards.writing import write_card


def write_model_card(
    session: Session, settings: Settings, reference: str, folder: Path
) -> dict[str, Any]:
    """Write the card of a model into a folder: Markdown, JSON and pictures.

    Args:
        session: any session.
        settings: of the node.
        reference: NAME (its newest version) or NAME:VERSION.
        folder: new, empty, or that of an earlier card.

    Returns:
        ``model``, ``folder``, ``files``, the ``limits`` of the card, and how many ``items`` of each
        guideline it answers.

    Raises:
        training.errors.Permanent: no such model, or the folder holds something else.
    """
    subject = subject_of(
        session,
        ground_of(settings),
        reference,
        schema_of(settings.labeling),
        DataFolder(settings.data_folder).weights,
        {each.sender: each.name for each in settings.hl7.feeds},
    )
    facts = card_facts(subject, utc_now(), code_identity())
    files = write_card(facts, folder)
    return {
        "model": facts["model"]["reference"],
        "stage": facts["stages"]["now"],
        "folder": str(folder),
        "files": files,
        "limits": [{"limit": each["limit"]} for each in facts["limits"]],
        "items": [{"guideline": each["name"], **each["counts"]} for each in facts["checklists"]],
    }
