"""Reading DICOM JSON (PS3.18 annex F) of a peer strictly: what is not in its form is no answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

Item = dict[str, Any]


def read_data_sets(content: bytes) -> list[Item]:
    """Return the data sets of an answer: of an array, or the one that stands alone.

    Raises:
        ValueError: this is no DICOM JSON.
    """
    try:
        found = json.loads(content.decode("utf-8"), object_pairs_hook=_once)
    except RecursionError:
        raise ValueError("the answer is nested too deeply") from None
    found = [found] if isinstance(found, dict) else found
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise ValueError("the answer holds no data set")
    return found


def items_of(data_set: Item, tag: str) -> list[Item]:
    """Return the items of a sequence; none where it is absent or empty.

    Raises:
        ValueError: the element is no sequence.
    """
    found = _values(data_set, tag)
    if not all(isinstance(each, dict) for each in found):
        raise ValueError("a sequence holds no items")
    return found


def text_of(data_set: Item, tag: str) -> str:
    """Return an element's values as text, as they would stand in a file; empty where it is absent.

    Raises:
        ValueError: the values are no texts.
    """
    found = ["" if each is None else each for each in _values(data_set, tag)]
    if not all(isinstance(each, str) for each in found):
        raise ValueError("a value is no text")
    return "\\".join(found).strip("\0 ")


def number_of(data_set: Item, tag: str) -> int | None:
    """Return an element's number; None where it is absent.

    Raises:
        ValueError: the value is no whole number.
    """
    found = _values(data_set, tag)
    if not found:
        return None
    if len(found) > 1 or not isinstance(found[0], int) or isinstance(found[0], bool):
        raise ValueError("a value is no whole number")
    return found[0]


def _values(data_set: Item, tag: str) -> list[Any]:
    element = data_set.get(tag, {})
    if not isinstance(element, dict):
        raise ValueError("an element has not the form of one")
    values = element.get("Value", [])
    if not isinstance(values, list):
        raise ValueError("an element's values are no list")
    return values


def _once(pairs: Sequence[tuple[str, Any]]) -> Item:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an element stands twice")
    return found
