"""Reading our structured reports back, with pydicom alone.

Strict about the form that :mod:`dicom_node.sr.building` writes: a measurement group that
lacks its finding or state is an error and never a silent blank.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from pydicom.dataset import Dataset

from dicom_node.errors import Permanent
from dicom_node.headers import PARSER_ERRORS
from dicom_node.sr.content import (
    SITE_SEPARATOR,
    STATE_CODES,
    Algorithm,
    ConceptCode,
    Finding,
    FindingState,
    ReportContent,
)

_IMAGING_MEASUREMENTS, _MEASUREMENT_GROUP = "126010", "125007"
_TRACKING_IDENTIFIER, _FINDING, _FINDING_SITE = "112039", "121071", "363698007"
_PROBABILITY, _COMMENT, _SUMMARY, _PROCEDURE = "122157", "121106", "121111", "121058"
_ALGORITHM_NAME, _ALGORITHM_VERSION, _ALGORITHM_MANUFACTURER = "111001", "111003", "122405"
_ALGORITHM_PARAMETERS = "111002"
_OBSERVER = {
    "121012": "uid",
    "121013": "name",
    "121014": "manufacturer",
    "121015": "model name",
}
_LIBRARY_ERRORS: tuple[type[Exception], ...] = (*PARSER_ERRORS, OSError)
_STATES = {(code.value, code.scheme): state for state, code in STATE_CODES.items()}


@contextmanager
def reading() -> Iterator[None]:
    """Turn whatever a damaged document makes the library raise into an error that is declared.

    A data set that was read from a file decodes each value when it is asked for.

    Raises:
        Permanent: a value could not be decoded, is missing or is not what it must be.
    """
    try:
        with warnings.catch_warnings():
            # The library quotes the value that it complains about.
            warnings.simplefilter("ignore")
            yield
    except _LIBRARY_ERRORS as error:
        raise Permanent(f"the document is damaged ({type(error).__name__})") from error


@reading()
def read_findings(document: Dataset) -> tuple[Finding, ...]:
    """Return the findings of a report in its order, as they were given to the builder.

    Probabilities come back to within 1e-12.

    Raises:
        Permanent: the document is no report of ours or a group is incomplete.
    """
    return tuple(_finding(group) for group in _groups(document))


@reading()
def read_report(document: Dataset) -> ReportContent:
    """Return all that a report says.

    Raises:
        Permanent: the document is no report of ours or a group is incomplete.
    """
    title = _concept_name(document)
    if document.get("Modality") != "SR" or title is None:
        raise Permanent("not a structured report")
    procedure = _child(document, _PROCEDURE)
    summary, warning = _text(document, _SUMMARY), _text(document, _COMMENT)
    observer = {name: _text(document, code) for code, name in _OBSERVER.items()}
    return ReportContent(
        title=title,
        warning=warning,
        summary=summary,
        procedure=_code(procedure) if procedure else None,
        observer={name: value for name, value in observer.items() if value},
        algorithm=_algorithm(document),
        findings=read_findings(document),
        evidence=_evidence(document),
    )


def _groups(document: Dataset) -> Iterator[Dataset]:
    measurements = _child(document, _IMAGING_MEASUREMENTS)
    if measurements is None:
        raise Permanent("the document has no Imaging Measurements")
    return _children(measurements, _MEASUREMENT_GROUP)


def _finding(group: Dataset) -> Finding:
    finding = _child(group, _FINDING)
    tracking = _text(group, _TRACKING_IDENTIFIER)
    if finding is None or SITE_SEPARATOR not in tracking:
        raise Permanent("a measurement group names no finding or no site")
    condition = _code(finding)
    evaluation = _child(group, condition.value)
    state = _state(evaluation)
    if state is None:
        raise Permanent("a measurement group does not say whether its finding is present")
    site, measurement = _child(group, _FINDING_SITE), _child(group, _PROBABILITY)
    threshold = _parameters(measurement or group).get("threshold")
    return Finding(
        condition=condition,
        site=_code(site) if site else None,
        site_id=tracking.rpartition(SITE_SEPARATOR)[2],
        probability=_fraction(measurement) if measurement else None,
        threshold=float(threshold) if threshold else None,
        state=state,
        reason=_text(group, _COMMENT),
    )


def _state(evaluation: Dataset | None) -> FindingState | None:
    code = _code(evaluation) if evaluation else None
    return _STATES.get((code.value, code.scheme)) if code else None


def _fraction(measurement: Dataset) -> float:
    """The measured per cent as 0 to 1; Floating Point Value is exact, Numeric Value is not."""
    value = measurement.MeasuredValueSequence[0]
    percent = float(value.get("FloatingPointValue", value.NumericValue))
    return round(percent / 100.0, 12)


def _algorithm(document: Dataset) -> Algorithm | None:
    """The algorithm that the first group names, with the Device UID of the equipment."""
    for group in _groups(document):
        holder = _child(group, _PROBABILITY) or group
        name = _text(holder, _ALGORITHM_NAME)
        parameters = _parameters(holder)
        parameters.pop("threshold", None)
        equipment = document.get("ContributingEquipmentSequence") or [Dataset()]
        return Algorithm(
            name=name,
            version=_text(holder, _ALGORITHM_VERSION),
            manufacturer=_text(holder, _ALGORITHM_MANUFACTURER),
            device_uid=str(equipment[0].get("DeviceUID", "")),
            parameters=parameters,
        )
    return None


def _parameters(item: Dataset) -> dict[str, str]:
    pairs = (str(p.TextValue).partition("=") for p in _children(item, _ALGORITHM_PARAMETERS))
    return {name: value for name, _, value in pairs}


def _evidence(document: Dataset) -> dict[str, int]:
    counts: dict[str, int] = {}
    for study in document.get("CurrentRequestedProcedureEvidenceSequence", ()):
        for series in study.ReferencedSeriesSequence:
            uid = str(series.SeriesInstanceUID)
            counts[uid] = counts.get(uid, 0) + len(series.ReferencedSOPSequence)
    return counts


def _children(item: Dataset, code: str) -> Iterator[Dataset]:
    for child in item.get("ContentSequence", ()):
        name = _concept_name(child)
        if name is not None and name.value == code:
            yield child


def _child(item: Dataset, code: str) -> Dataset | None:
    return next(_children(item, code), None)


def _text(item: Dataset, code: str) -> str:
    child = _child(item, code)
    return str(child.get("TextValue") or child.get("UID") or "") if child else ""


def _concept_name(item: Dataset) -> ConceptCode | None:
    names = item.get("ConceptNameCodeSequence")
    return _concept(names[0]) if names else None


def _code(item: Dataset) -> ConceptCode:
    return _concept(item.ConceptCodeSequence[0])


def _concept(code: Dataset) -> ConceptCode:
    value = code.get("CodeValue") or code.get("LongCodeValue") or code.get("URNCodeValue") or ""
    return ConceptCode(str(value), str(code.CodingSchemeDesignator), str(code.CodeMeaning))
