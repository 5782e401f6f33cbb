"""Which items of TRIPOD+AI and CLAIM a card answers: asked of its facts, never claimed.

An item names the facts that answer it. It is answered where all of them are known and the item
asks for nothing more; in part where it asks for more, or some are unknown; else not known.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any

import yaml

ANSWERED, IN_PART, UNKNOWN = "answered", "in part", "not known to the database"
FILES = ("tripod_ai", "claim")


def checklists(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return each guideline with its items and where in the card each is answered."""
    return [_filled(read(name), facts) for name in FILES]


def read(name: str) -> dict[str, Any]:
    """Return a guideline as its file has it."""
    file = resources.files("training.cards") / "checklists" / f"{name}.yaml"
    found: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return found


def _filled(told: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    items = [_item(each, facts) for each in told["items"]]
    counts = {
        state: sum(e["state"] == state for e in items) for state in (ANSWERED, IN_PART, UNKNOWN)
    }
    return {"name": told["name"], "source": told["source"], "counts": counts, "items": items}


def _item(item: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    paths = item.get("facts", [])
    known = [path for path in paths if is_known(at(facts, path))]
    state, lacks = UNKNOWN, [each for each in [item.get("lacks", "")] if each]
    lacks += [path.replace(".", ": ").replace("_", " ") for path in paths if path not in known]
    if known:
        state = IN_PART if lacks else ANSWERED
    return {
        "number": str(item["number"]),
        "asks": item["asks"],
        "state": state,
        "where": list(dict.fromkeys(path.split(".")[0] for path in known)),
        "lacks": "; ".join(lacks) if known else "",
    }


def at(facts: Mapping[str, Any], path: str) -> Any:
    """Return the fact at a path of keys; of a list of rows, what the rows have under the key.

    Raises:
        KeyError: no card has such a key.
    """
    value: Any = facts
    for key in path.split("."):
        value = _under(value, key)
    return value


def _under(value: Any, key: str) -> Any:
    if isinstance(value, list):
        return [_under(each, key) for each in value]
    return None if value is None else value[key]


def is_known(value: Any) -> bool:
    """Tell whether a fact says something: not None, no, or empty, nor made of such alone."""
    if isinstance(value, Mapping):
        return any(is_known(each) for each in value.values())
    if isinstance(value, list):
        return any(is_known(each) for each in value)
    return value is not None and value is not False and value != ""
