"""Reads a rule for series from YAML; whatever is wrong is named by line and key."""

from __future__ import annotations

import hashlib
import re
from importlib import resources
from pathlib import Path
from typing import Any, get_args

import yaml

from labeling.located_yaml import Entry, is_identifier, read_yaml
from training.images.contrast import Contrast
from training.images.series_rule import (
    DIMENSIONS,
    Agent,
    Choice,
    Geometry,
    ImageSeriesRule,
    InvalidSeriesRule,
    Laterality,
    Limits,
    Mirror,
    Preference,
    Reading,
)
from training.images.views import View
from training.images.windows import AS_STORED, CT_WINDOWS, DECLARED

_REQUIRED = {"name", "title", "modality", "geometry"}
_OF_STACKS = {"tolerance_degrees", "contrast", "contrast_agent"} | {
    "echo_time", "repetition_time", "inversion_time",
}  # fmt: skip
_OF_PROJECTIONS = {"views"}
_OPTIONAL = {
    *_OF_STACKS, *_OF_PROJECTIONS, "why", "body_parts", "larger_body_parts", "body_part_words",
    "laterality", "slices", "spacing", "description", "image_types", "hints", "prefer", "reading",
}  # fmt: skip
_MR_ONLY = ("contrast", "contrast_agent", "echo_time", "repetition_time", "inversion_time")
_POST_CONTRAST = "post_contrast"
_SUFFIX = ".yaml"
_NUMBER_TAGS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


def shipped_rules() -> tuple[str, ...]:
    """Return the names of the rules that come with the package, in order."""
    files = (resources.files("training") / "images" / "rules").iterdir()
    return tuple(
        sorted(each.name.removesuffix(_SUFFIX) for each in files if each.name.endswith(_SUFFIX))
    )


def load_rule(name: str) -> ImageSeriesRule:
    """Return a rule: one that ships, by its name, or a file, by a path that ends in .yaml.

    Raises:
        InvalidSeriesRule: there is none, or it cannot be used; names line and key.
    """
    if name.endswith((_SUFFIX, ".yml")):
        path = Path(name)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InvalidSeriesRule(f"{path.name}: cannot be read ({error.strerror})") from error
        return parse_rule(content, path.name)
    if not is_identifier(name) or name not in shipped_rules():
        known = ", ".join(shipped_rules())
        raise InvalidSeriesRule(
            f"no rule for series of this name comes with the package; there are {known}; "
            "a file of yours is named by a path that ends in .yaml"
        )
    file = resources.files("training") / "images" / "rules" / f"{name}{_SUFFIX}"
    return parse_rule(file.read_bytes(), f"{name}{_SUFFIX}")


def parse_rule(content: bytes, source: str) -> ImageSeriesRule:
    """Read a rule from the bytes of a file; ``source`` names it in errors.

    Raises:
        InvalidSeriesRule: it is none; names line and key.
    """
    top = read_yaml(content, source, InvalidSeriesRule)
    found = top.fields(_REQUIRED, _OPTIONAL)
    if "why" in found:
        found["why"].text()
    geometry: Geometry = _one_of(found["geometry"], Geometry)
    modalities = tuple(each.text().upper() for each in _one_or_more(found["modality"]))
    _check_fitting(found, geometry, modalities)
    values: dict[str, Any] = {
        "name": found["name"].identifier(),
        "title": found["title"].text(),
        "modalities": modalities,
        "geometry": geometry,
        "digest": hashlib.sha256(content).hexdigest(),
    }
    for key, read in _READERS.items():
        if key in found:
            values |= read(found[key])
    reading = _reading(found.get("reading"), modalities, geometry)
    values["reading"] = Reading(
        **{"spacing_needed": values.pop("spacing_needed", geometry != "projection"), **reading}
    )
    return ImageSeriesRule(**values)


def _check_fitting(
    found: dict[str, Entry], geometry: Geometry, modalities: tuple[str, ...]
) -> None:
    alien = _OF_STACKS if geometry == "projection" else _OF_PROJECTIONS
    for key in sorted(alien & found.keys()):
        raise found[key].refuse(f"means nothing where geometry is {geometry}")
    for key in _MR_ONLY:
        if key in found and modalities != ("MR",):
            raise found[key].refuse("is for the modality MR alone")


def _contrast(entry: Entry) -> dict[str, Any]:
    known = (*Contrast, _POST_CONTRAST)
    chosen = [each.choice(known) for each in _one_or_more(entry)]
    if _POST_CONTRAST not in chosen:
        return {"contrast": tuple(Contrast(each) for each in chosen)}
    if len(chosen) > 1:
        raise entry.refuse(f"{_POST_CONTRAST} stands alone: a t1 after a contrast agent")
    return {"contrast": (Contrast.T1,), "contrast_agent": "given"}


def _views(entry: Entry) -> dict[str, Any]:
    known = tuple(each.value for each in View if each is not View.OTHER)
    return {"views": tuple(View(each.choice(known)) for each in _one_or_more(entry))}


def _spacing(entry: Entry) -> dict[str, Any]:
    found = entry.fields(set(), {"in_plane", "between_slices", "needed"})
    values: dict[str, Any] = {
        key: _limits(found[key]) for key in ("in_plane", "between_slices") if key in found
    }
    if "needed" in found:
        values["spacing_needed"] = found["needed"].flag()
    return values


def _description(entry: Entry) -> dict[str, Any]:
    found = entry.fields(set(), {"include", "exclude"})
    return {key: tuple(_pattern(each) for each in found[key].items()) for key in found}


def _image_types(entry: Entry) -> dict[str, Any]:
    found = entry.fields(set(), {"derived", "secondary", "exclude"})
    values: dict[str, Any] = {
        key: found[key].flag() for key in ("derived", "secondary") if key in found
    }
    if "exclude" in found:
        values["excluded_types"] = frozenset(each.upper() for each in found["exclude"].texts())
    return values


def _reading(
    entry: Entry | None, modalities: tuple[str, ...], geometry: Geometry
) -> dict[str, Any]:
    if entry is None:
        return {}
    found = entry.fields(set(), {"window", "index", "upright", "mirror", "choose"})
    values: dict[str, Any] = {}
    if "window" in found:
        values["window"] = found["window"].choice((AS_STORED, DECLARED, *CT_WINDOWS))
        if values["window"] in CT_WINDOWS and modalities != ("CT",):
            raise found["window"].refuse("a window in Hounsfield units is for CT alone")
    if "index" in found:
        values["index"] = int(_number(found["index"], whole=True))
    if "upright" in found:
        values["upright"] = found["upright"].flag()
    if "mirror" in found:
        values["mirror"] = _one_of(found["mirror"], Mirror)
    for key in ("upright", "mirror"):
        if key in found and geometry != "projection":
            raise found[key].refuse("is for projections; stacks are turned by their positions")
    if "choose" in found:
        chosen = found["choose"].fields(set(), set(DIMENSIONS))
        values["choose"] = {key: _one_of(each, Choice) for key, each in chosen.items()}
    return values


def _limits(entry: Entry) -> Limits:
    found = entry.fields(set(), {"minimum", "maximum"})
    limits = Limits(**{key: _number(each) for key, each in found.items()})
    if not found:
        raise entry.refuse("needs minimum, maximum or both")
    if None not in (limits.minimum, limits.maximum) and limits.fault(limits.maximum or 0.0):
        raise entry.refuse("minimum is above maximum")
    return limits


def _number(entry: Entry, *, whole: bool = False) -> float:
    if not isinstance(entry.node, yaml.ScalarNode) or entry.node.tag not in _NUMBER_TAGS:
        raise entry.refuse("expected a number")
    try:
        value = float(entry.node.value)
    except ValueError:
        raise entry.refuse("expected a plain number") from None
    if not 0 <= value < 1e9 or (whole and not value.is_integer()):
        raise entry.refuse("expected a whole number from 0" if whole else "expected 0 or more")
    return value


def _pattern(entry: Entry) -> re.Pattern[str]:
    try:
        return re.compile(entry.text(), re.IGNORECASE)
    except re.error as error:
        raise entry.refuse(f"is no pattern ({error})") from error


def _one_or_more(entry: Entry) -> list[Entry]:
    found = [entry] if entry.is_text() else entry.items()
    if not found:
        raise entry.refuse("must not be empty")
    return found


def _one_of(entry: Entry, options: Any) -> Any:
    return entry.choice(get_args(options))


_READERS: dict[str, Any] = {
    "body_parts": lambda e: {"body_parts": frozenset(t.upper() for t in e.texts())},
    "larger_body_parts": lambda e: {"larger_body_parts": frozenset(t.upper() for t in e.texts())},
    "body_part_words": lambda e: {"body_part_words": tuple(t.lower() for t in e.texts())},
    "tolerance_degrees": lambda e: {"tolerance_degrees": _number(e)},
    "contrast": _contrast,
    "contrast_agent": lambda e: {"contrast_agent": _one_of(e, Agent)},
    "echo_time": lambda e: {"echo_time": _limits(e)},
    "repetition_time": lambda e: {"repetition_time": _limits(e)},
    "inversion_time": lambda e: {"inversion_time": _limits(e)},
    "views": _views,
    "laterality": lambda e: {"laterality": _one_of(e, Laterality)},
    "slices": lambda e: {"slices": _limits(e)},
    "spacing": _spacing,
    "description": _description,
    "image_types": _image_types,
    "hints": lambda e: {"hints": e.flag()},
    "prefer": lambda e: {"prefer": tuple(_one_of(each, Preference) for each in e.items())},
}
