"""Propose a mapping from the header and the first rows of a table, with the reason of each line.

A choice that the rows cannot decide is asked, not made: what is left out then refuses rows.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from dicom_node.history import words
from dicom_node.history.dates import COMMON_FORMS, fits
from dicom_node.history.mapping import ImportMapping, mapping_of
from dicom_node.history.tables import RefusedRow, Row

SAMPLE_ROWS = 5000
_MOST_WORDS = 40  # different values of a column that is a table of codes
_LONG_TEXT = 60  # characters on average, of a column that may be report text
_DATES = ("birth_date", "study_date", "report_date")


@dataclass(slots=True)
class MappingProposal:
    """A mapping as values, why each was chosen, and what a person must decide."""

    values: dict[str, Any]
    rows: int
    reasons: dict[str, str] = field(default_factory=dict)
    questions: list[str] = field(default_factory=list)

    def mapping(self) -> ImportMapping:
        """Return the mapping.

        Raises:
            InvalidSettings: something that every mapping needs could not be found.
        """
        return mapping_of(self.values, "the proposed mapping")

    def toml(self) -> str:
        """Return the mapping as a file to look at and correct."""
        return _toml(self)


def propose(name: str, rows: Iterable[Row | RefusedRow]) -> MappingProposal:
    """Propose a mapping.

    Args:
        name: of the collection.
        rows: of the table; the first of them are looked at.
    """
    sample = [each for each in islice(rows, SAMPLE_ROWS) if isinstance(each, Row)]
    header = list(sample[0].cells) if sample else []
    proposal = MappingProposal({"name": name}, len(sample))
    columns = _columns(header, proposal)
    texts = _texts(header, columns, sample, proposal)
    proposal.values |= {"columns": columns, "text": texts}
    _dates(columns, sample, proposal)
    _names(columns, sample, proposal)
    _status(columns, sample, proposal)
    _words("sexes", "sex", words.SEXES, columns, sample, proposal)
    modalities = dict(words.MODALITIES)
    _words("modalities", "modality", modalities, columns, sample, proposal, codes=True)
    _issuers(columns, proposal)
    return proposal


def _columns(header: Sequence[str], proposal: MappingProposal) -> dict[str, str]:
    by_name = {words.plain(each): each for each in reversed(header)}
    found: dict[str, str] = {}
    for use, names in words.COLUMNS.items():
        name = next((each for each in names if each in by_name), "")
        if name and by_name[name] not in found.values():
            found[use] = by_name[name]
            proposal.reasons[f"columns.{use}"] = "by its name"
    if "family_name" in found:
        found.pop("patient_name", None)
    else:
        found.pop("given_name", None)
    for use in ("patient_id",):
        if use not in found:
            proposal.questions.append(f"which column is {use}? Nothing is imported without it")
    if not {"accession_number", "study_instance_uid"} & found.keys():
        proposal.questions.append("which column names the study (accession number or study UID)?")
    return found


def _texts(
    header: Sequence[str],
    columns: Mapping[str, str],
    sample: Sequence[Row],
    proposal: MappingProposal,
) -> list[dict[str, str]]:
    by_name = {words.plain(each): each for each in reversed(header)}
    found: list[dict[str, str]] = []
    for heading, names in words.TEXTS.items():
        column = next((by_name[each] for each in names if each in by_name), "")
        if column and column not in columns.values():
            found.append({"heading": heading, "column": column})
    if found:
        proposal.reasons["text"] = "by the names of the columns, in the order of a report"
        return found
    free = [each for each in header if each not in columns.values()]
    longest = max(free, key=lambda each: _mean_length(each, sample), default="")
    if longest and _mean_length(longest, sample) >= _LONG_TEXT:
        proposal.reasons["text"] = "the column with the longest values"
        return [{"heading": "REPORT", "column": longest}]
    if "document" not in columns:
        proposal.questions.append("which columns hold the text of the report?")
    return []


def _mean_length(column: str, sample: Sequence[Row]) -> float:
    return sum(len(row.cells[column]) for row in sample) / max(len(sample), 1)


def _values(column: str, sample: Sequence[Row]) -> list[str]:
    return [text for row in sample if (text := row.cells[column].replace("\xa0", " ").strip())]


def _dates(columns: Mapping[str, str], sample: Sequence[Row], proposal: MappingProposal) -> None:
    forms: list[str] = []
    for use in _DATES:
        values = _values(columns[use], sample) if use in columns else []
        if not values:
            continue
        fitting = {form: sum(fits(value, form) for value in values) for form in COMMON_FORMS}
        chosen = _cover(values, [form for form, count in fitting.items() if count], use, proposal)
        forms += [form for form in chosen if form not in forms]
    if forms:
        proposal.values["date_forms"] = forms
        proposal.reasons["date_forms"] = "every date of the sample has exactly one of these forms"


def _cover(
    values: Sequence[str], forms: Sequence[str], use: str, proposal: MappingProposal
) -> list[str]:
    """Choose forms, those that read most first; day and month must not be left to chance."""
    left = list(values)
    chosen: list[str] = []
    while left:
        counts = {form: sum(fits(each, form) for each in left) for form in forms}
        best = max(counts.values(), default=0)
        if best == 0:
            proposal.questions.append(
                f"{use}: {len(left)} of {len(values)} values have no form that is known"
            )
            break
        rivals = [form for form in forms if counts[form] == best]
        if len(rivals) > 1 and _swapped(rivals[0]) in rivals:
            proposal.questions.append(
                f"{use}: is it {rivals[0]} or {_swapped(rivals[0])}? Every value fits both"
            )
            break
        chosen.append(rivals[0])
        left = [each for each in left if not fits(each, rivals[0])]
    return chosen


def _swapped(form: str) -> str:
    return form.replace("DD", "\0").replace("MM", "DD").replace("\0", "MM")


def _names(columns: Mapping[str, str], sample: Sequence[Row], proposal: MappingProposal) -> None:
    values = _values(columns["patient_name"], sample) if "patient_name" in columns else []
    if not values:
        return
    if sum("^" in each for each in values) * 2 > len(values):
        form, reason = "DICOM", "most names have ^ between their parts"
    elif sum("," in each for each in values) * 2 > len(values):
        form, reason = "family, given", "most names have a comma between their parts"
    else:
        proposal.questions.append(
            'name_form: "family given" or "given family"? A wrong one vetoes every link'
        )
        return
    proposal.values["name_form"] = form
    proposal.reasons["name_form"] = reason


def _status(columns: Mapping[str, str], sample: Sequence[Row], proposal: MappingProposal) -> None:
    if "status" in columns:
        _words("statuses", "status", words.STATUSES, columns, sample, proposal)
        return
    proposal.values["default_status"] = "F"
    proposal.reasons["default_status"] = "there is no status column"
    proposal.questions.append("default_status: are all rows final reports (F), or not (P)?")


def _words(
    key: str,
    use: str,
    known: Mapping[str, str],
    columns: Mapping[str, str],
    sample: Sequence[Row],
    proposal: MappingProposal,
    *,
    codes: bool = False,
) -> None:
    """Map the different values of a column; with ``codes``, DICOM's own need no mapping."""
    counts = Counter(_values(columns[use], sample)) if use in columns else Counter[str]()
    if len(counts) > _MOST_WORDS:
        proposal.questions.append(f"{use}: more than {_MOST_WORDS} different values")
        return
    found = {word: known[word.casefold()] for word in sorted(counts) if word.casefold() in known}
    if found:
        proposal.values[key] = found
        proposal.reasons[key] = "by the usual meaning of the words"
    for word, count in counts.items():
        if word not in found and not (codes and word.isalpha() and word == word.upper()):
            proposal.questions.append(f"{use}: what does {_quoted(word[:40])} mean ({count} rows)?")


def _issuers(columns: Mapping[str, str], proposal: MappingProposal) -> None:
    for use, of in (
        ("issuer_of_patient_id", "patient_id"),
        ("issuer_of_accession_number", "accession_number"),
    ):
        if of in columns and use not in columns:
            proposal.questions.append(f"{use}: who issued the numbers? Without it nothing links")


def _toml(proposal: MappingProposal) -> str:
    lines = [
        f"# Proposed from {proposal.rows} rows. Look at every line: what is wrong here is wrong in",
        "# every report. Then try it with --dry-run.",
        *(f"# TO DECIDE: {each}" for each in proposal.questions),
        "",
    ]
    tables = ("columns", "statuses", "sexes", "modalities")
    plain = {key: value for key, value in proposal.values.items() if key not in (*tables, "text")}
    for key, value in plain.items():
        lines += _line(key, value, proposal.reasons.get(key, ""))
    for key in tables:
        if values := proposal.values.get(key):
            reason = proposal.reasons.get(key, "")
            lines += ["", f"[{key}]" + (f"  # {reason}" if reason else "")]
            for name, value in values.items():
                said = proposal.reasons.get(f"{key}.{name}", "")
                lines += _line(name if key == "columns" else _quoted(name), value, said)
    for number, each in enumerate(proposal.values.get("text", ())):
        reason = proposal.reasons.get("text", "") if number == 0 else ""
        lines += ["", "[[text]]" + (f"  # {reason}" if reason else "")]
        lines += [line for key, value in each.items() for line in _line(key, value, "")]
    return "\n".join(lines) + "\n"


def _line(key: str, value: Any, reason: str) -> list[str]:
    many = isinstance(value, list | tuple)
    text = f"[{', '.join(map(_quoted, value))}]" if many else _quoted(value)
    return [f"{key} = {text}" + (f"  # {reason}" if reason else "")]


def _quoted(value: str) -> str:
    """A basic string of TOML, on one line whatever the value holds."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(each if each.isprintable() else f"\\U{ord(each):08x}" for each in text)
