"""A card as files: ``card.md``, ``card.json`` and its pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dicom_node.durable import write_durably
from training.cards.facts import FORM
from training.cards.pictures import pictures
from training.cards.sections import markdown
from training.errors import Permanent, Transient

FILES = frozenset({"card.md", "card.json", "roc.png", "reliability.png", "learning_curve.png"})
"""All that may stand in the folder of a card."""


def write_card(facts: Mapping[str, Any], folder: Path) -> list[str]:
    """Write a card into a folder, in place of an earlier one; return the names of the files.

    Args:
        facts: of :func:`training.cards.facts.card_facts`; the pictures are added.
        folder: new, empty, or that of a card.

    Raises:
        Permanent: the folder holds something else, or cannot be made.
        Transient: the disk refused.
    """
    _check(folder)
    shown, files = pictures(facts)
    whole = {**facts, "pictures": shown}
    files["card.md"] = markdown(whole).encode()
    files["card.json"] = json.dumps(whole, indent=1, allow_nan=False, ensure_ascii=False).encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES - files.keys():
            (folder / name).unlink(missing_ok=True)
        for name, content in files.items():
            write_durably(folder / name, content)
    except OSError as error:
        raise Transient(f"the card could not be written: {error.strerror}") from error
    return sorted(files)


def _check(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise Permanent(f"{folder} is not a folder")
    there = {each.name for each in folder.iterdir()}
    if not there:
        return
    if there - FILES or not _is_card(folder / "card.json"):
        raise Permanent(f"{folder} holds something that is not a model card")


def _is_card(path: Path) -> bool:
    try:
        return bool(json.loads(path.read_bytes())["form"] == FORM)
    except (OSError, ValueError, KeyError, TypeError):
        return False
