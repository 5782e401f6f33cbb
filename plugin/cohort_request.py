"""What a person asks a cohort for: a TOML or YAML file, options of the command, or both."""

from __future__ import annotations

import datetime as dt
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from dicom_node.setting_values import Section
from labeling.vocabulary import LabelSchema, UncertainPolicy
from plugin.errors import Permanent
from plugin.settings import explain
from training.errors import Permanent as FaultyList
from training.evaluation.splits import Split
from training.listed import Listed, read_listed
from training.query import CohortQuery


class Consent(Section):
    """Who agreed to research, or who did not; see deploy/cohorts.md."""

    list: Path
    rule: Literal["opt_in", "opt_out"]


class Dates(Section):
    """Study Date (0008,0020) from and to, both included."""

    first: dt.date | None = Field(default=None, alias="from")
    last: dt.date | None = Field(default=None, alias="to")

    @field_validator("first", "last", mode="before")
    @classmethod
    def _dicom_date(cls, value: Any) -> Any:
        return _as_date(value)

    @model_validator(mode="after")
    def _in_order(self) -> Dates:
        if self.first and self.last and self.first > self.last:
            raise ValueError("from lies after to")
        return self


class CohortRequest(Section):
    """A query as it is written; whatever is left out is as the node's settings say."""

    labeler: str | None = None
    schema_name: str | None = Field(default=None, alias="schema")
    modality: str | None = Field(default=None, min_length=1)
    body_parts: tuple[str, ...] | None = None
    series_description: str | None = None
    sequences: tuple[str, ...] = ()
    series_rule: str | None = Field(default=None, min_length=1)
    study_dates: Dates = Dates()
    test_from: dt.date | None = None
    test_site: str | None = Field(default=None, min_length=1)
    minimum_link: Literal["confirmed", "reviewed"] = "confirmed"
    uncertain_policy: UncertainPolicy | None = None
    excluded_studies: Path | None = None
    excluded_patients: Path | None = None
    consent: Consent | None = None
    suspects: Literal["stop", "exclude"] = "stop"
    accepted_suspects: tuple[str, ...] = ()
    duplicates: Literal["stop", "exclude"] = "stop"
    label_words: Literal["exclude", "keep"] = "exclude"
    secondary_captures: Literal["exclude", "keep"] = "exclude"
    reports_after_delivery: Literal["exclude", "keep"] | None = None

    @model_validator(mode="after")
    def _one_split(self) -> CohortRequest:
        if self.test_from and self.test_site:
            raise ValueError("test_from and test_site exclude each other")
        return self

    @field_validator("test_from", mode="before")
    @classmethod
    def _dicom_date(cls, value: Any) -> Any:
        return _as_date(value)

    @model_validator(mode="after")
    def _one_way_to_choose(self) -> CohortRequest:
        others = (self.modality, self.body_parts, self.series_description, self.sequences or None)
        if self.series_rule and any(each is not None for each in others):
            raise ValueError(
                "a series_rule decides alone: leave modality, body_parts, series_description and "
                "sequences out"
            )
        return self

    @field_validator("modality")
    @classmethod
    def _as_dicom_writes(cls, value: str | None) -> str | None:
        return value.upper() if value else value

    @field_validator("minimum_link", mode="before")
    @classmethod
    def _no_weaker_link(cls, value: Any) -> Any:
        if value in ("proposed", "suspended", "refused", "withdrawn"):
            raise ValueError(
                "only confirmed links feed a cohort; take confirmed, or reviewed where a person "
                "must have decided"
            )
        return value

    @field_validator("sequences")
    @classmethod
    def _no_empty_pattern(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(each.strip() for each in value):
            raise ValueError("a pattern is empty; * stands for anything")
        return value


def _as_date(value: Any) -> Any:
    """Return the date that a text writes, with hyphens or as DICOM does; others as they are."""
    if isinstance(value, str | int) and len(text := str(value)) == 8 and text.isdigit():
        value = f"{text[:4]}-{text[4:6]}-{text[6:]}"
    if value == "":
        raise ValueError("a date is empty; leave it out where there is no bound")
    if isinstance(value, str):
        try:
            return dt.date.fromisoformat(value)
        except ValueError:
            raise ValueError("a date is written 2024-01-31") from None
    return value


def read_request(path: Path) -> dict[str, Any]:
    """Read the values of a query file; lists that it names are relative to it.

    Raises:
        Permanent: it cannot be read, or a key or a value is wrong; the message names the key.
    """
    if path.suffix not in (".toml", ".yaml", ".yml"):
        raise Permanent(f"{path.name}: the name of a query ends in .toml, .yaml or .yml")
    try:
        text = path.read_text(encoding="utf-8-sig")
        values = tomllib.loads(text) if path.suffix == ".toml" else _from_yaml(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, yaml.YAMLError) as error:
        raise Permanent(f"{path.name} cannot be read: {_without_content(error)}") from None
    checked = request_of(values, path.name)
    return _anchored(checked, path.absolute().parent).model_dump(
        mode="json", by_alias=True, exclude_defaults=True
    )


def _without_content(error: Exception) -> str:
    """Return what is wrong with a file and where; a list given by mistake may name patients."""
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        return f"it is no YAML{where}"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    return error.strerror or "it cannot be opened" if isinstance(error, OSError) else str(error)


def request_of(values: Any, source: str = "the query") -> CohortRequest:
    """Return a query of plain values.

    Raises:
        Permanent: a key or a value is wrong; the message names ``source`` and the key.
    """
    try:
        return CohortRequest.model_validate(values)
    except ValidationError as error:
        raise Permanent(f"{source}: {explain(error, _KEYS)}") from None


_KEYS = tuple(each.alias or name for name, each in CohortRequest.model_fields.items())


def combined(file: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a file with those of options over them; None: not given."""
    found = {**file, **{name: each for name, each in options.items() if each is not None}}
    if "study_dates" in file and "study_dates" in found:
        found["study_dates"] = {**file["study_dates"], **found["study_dates"]}
    return found


def query_of(
    request: CohortRequest, name: str, schema: LabelSchema, run_id: int, **known: Any
) -> CohortQuery:
    """Return the query of a request.

    Args:
        request: what was asked for.
        name: of the cohort.
        schema: that the node reads by.
        run_id: the labeling run.
        known: further values of ``CohortQuery``; those of the request win.

    Raises:
        Permanent: another schema was asked for, or a list cannot be read.
    """
    if request.schema_name not in (None, schema.name):
        raise Permanent(
            f"the query asks for schema {request.schema_name!r}; the node reads by {schema.name!r}"
        )
    asked = {
        "modality": request.modality,
        "body_parts": request.body_parts,
        "series_description": request.series_description,
    }
    return CohortQuery(
        name=name,
        schema=schema,
        run_id=run_id,
        **{**known, **{key: value for key, value in asked.items() if value is not None}},
        sequences=request.sequences,
        first_date=_digits(request.study_dates.first),
        last_date=_digits(request.study_dates.last),
        split=_split(request),
        minimum_link=request.minimum_link,
        uncertain_policy=request.uncertain_policy,
        excluded=tuple(
            _list(path, f"excluded {kind}", kind)
            for kind, path in (
                ("studies", request.excluded_studies),
                ("patients", request.excluded_patients),
            )
            if path is not None
        ),
        consent=_list(request.consent.list, "consent") if request.consent else None,
        consent_rule=request.consent.rule if request.consent else "opt_in",
        suspects=request.suspects,
        accepted_suspects=request.accepted_suspects,
        duplicates=request.duplicates,
        label_words=request.label_words,
        secondary_captures=request.secondary_captures,
        reports_after_delivery=request.reports_after_delivery,
    )


def _list(path: Path, what: str, kind: str = "") -> Listed:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise Permanent(
            f"{path.name}, the list of {what}, is no UTF-8 text: save it as CSV in UTF-8"
        ) from None
    except OSError as error:
        why = (error.strerror or "it cannot be opened").lower()
        raise Permanent(f"{path.name}, the list of {what}, cannot be read: {why}") from None
    try:
        found = read_listed(text, what)
    except FaultyList as error:
        raise Permanent(f"{path.name}: {error}") from None
    if kind and found.kind != kind:
        raise Permanent(f"{path.name}: the list of {what} holds {found.kind}")
    return found


def _split(request: CohortRequest) -> Split | None:
    if request.test_from:
        return Split("temporal", _digits(request.test_from))
    return Split("site", " ".join(request.test_site.split())) if request.test_site else None


def _digits(date: dt.date | None) -> str:
    return f"{date:%Y%m%d}" if date else ""


def _anchored(request: CohortRequest, folder: Path) -> CohortRequest:
    lists: dict[str, Any] = {
        name: folder / path
        for name in ("excluded_studies", "excluded_patients")
        if (path := getattr(request, name)) is not None
    }
    if (request.series_rule or "").endswith((".yaml", ".yml")):
        lists["series_rule"] = str(folder / str(request.series_rule))
    if request.consent is not None:
        path = folder / request.consent.list
        lists["consent"] = request.consent.model_copy(update={"list": path})
    return request.model_copy(update=lists)


def _from_yaml(text: str) -> Any:
    """Return the values of a YAML file, in which no key may stand twice."""
    _refuse_repeated(yaml.compose(text, Loader=yaml.SafeLoader))
    return yaml.safe_load(text)


def _refuse_repeated(node: yaml.Node | None) -> None:
    if isinstance(node, yaml.MappingNode):
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"the key {key!r} stands twice")
        for _, value in node.value:
            _refuse_repeated(value)
