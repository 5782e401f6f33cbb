"""ORU^R01 in the forms of IHE RAD-28 (2.3.1) and RAD-128 (2.5.1), and of versions 2.3 to 2.8."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from dicom_node.hl7.fields import Group, first_identifier
from dicom_node.hl7.observations import (
    RESULT_STATUSES,
    ObservationIds,
    mapped_status,
    read_parts,
    read_study_uids,
)
from dicom_node.hl7.parsed import ParsedMessage, ParsedPatient, ParsedReport, Role
from dicom_node.hl7.patients import is_test_patient, read_patient
from dicom_node.hl7.rules import Path
from dicom_node.hl7.segments import Reading, Segment, part
from dicom_node.hl7.text import ContentFault
from dicom_node.linking.identifiers import Identifier

MAXIMUM_ORDERS = 2000
"""Of one message; a report for several studies has a few."""

_PLACER, _FILLER = (Path("OBR", 2),), (Path("OBR", 3),)


def read_results(reading: Reading) -> ParsedMessage:
    """Read each OBR with what precedes (PID, ORC) and follows it (OBX, ZDS, IPC).

    Raises:
        ContentFault: there is no patient, no OBR, or a value in them is not as it must be.
    """
    patient: ParsedPatient | None = None
    reports: list[ParsedReport] = []
    groups, ids = list(order_groups(reading)), ObservationIds(reading)
    check_number(groups)
    shared = trailing_study(groups)
    for group in groups:
        if pid := group.by_name.get("PID"):
            patient = read_patient(reading, pid[0])
        if patient is None:
            raise ContentFault("PID", 0, 100, "no PID segment stands before the first OBR")
        if is_test_patient(reading, patient):
            return ParsedMessage(reading.envelope, ignored="a test patient of the feed")
        before = reports[-1] if reports and reports[-1].patient is patient else None
        reports.append(_report(reading, patient, group, ids, shared, before))
    if not reports:
        raise ContentFault("OBR", 0, 100, "the message has no OBR segment")
    return ParsedMessage(reading.envelope, reports=tuple(join_bare(reports)))


def check_number(groups: Sequence[Group]) -> None:
    """Refuse what no sound message holds.

    Raises:
        ContentFault: there are more orders than ``MAXIMUM_ORDERS``.
    """
    if len(groups) > MAXIMUM_ORDERS:
        raise ContentFault("OBR", 0, 102, "the message has far too many orders")


def order_groups(reading: Reading) -> Iterator[Group]:
    """Yield the groups of segments around each OBR: PID and ORC before it, OBX and others after."""
    current: list[Segment] = []
    has_obr = False
    for each in reading.segments[1:]:
        if has_obr and each.name in ("PID", "ORC", "OBR"):
            yield Group(reading, current)
            current, has_obr = [], False
        current.append(each)
        has_obr = has_obr or each.name == "OBR"
    if has_obr:
        yield Group(reading, current)


@dataclass(frozen=True, slots=True)
class SharedStudy:
    """The study that a ZDS at the end of a message names for all orders of one accession."""

    accessions: frozenset[Identifier] = frozenset()
    uids: tuple[str, ...] = ()


def trailing_study(groups: Sequence[Group]) -> SharedStudy:
    """Return what the only ZDS, behind the last of several orders, says (IHE RAD-4, RAD-28)."""
    if len(groups) < 2 or any("ZDS" in each.by_name for each in groups[:-1]):
        return SharedStudy()
    last = groups[-1]
    if "ZDS" not in last.by_name:
        return SharedStudy()
    uids = last.uids(path for path in last.reading.rules.study_uid if path.segment == "ZDS")
    return SharedStudy(frozenset(accessions_of(last)), uids)


def accessions_of(group: Group) -> tuple[Identifier, ...]:
    """Return the accession numbers of an order, at the paths of the profile."""
    rules, profile = group.reading.rules, group.reading.profile
    return group.identifiers(
        rules.accession, profile.issuer_of_accession_number, rules.accession_pattern
    )


def study_uids_of(
    group: Group, ids: ObservationIds, shared: SharedStudy, accessions: Iterable[Identifier]
) -> list[str]:
    """Return the Study Instance UIDs of an order: its OBX, the profile's paths, a shared ZDS."""
    found = [
        *read_study_uids(group.reading, group.observations, ids),
        *group.uids(group.reading.rules.study_uid),
    ]
    if shared.uids and not shared.accessions.isdisjoint(accessions):
        found += shared.uids
    return list(dict.fromkeys(found))


def mapped_modality(group: Group) -> str:
    """Return the modality, as a DICOM one where the profile maps it, else as sent."""
    value = group.text(group.reading.rules.modality)
    return group.reading.rules.modalities.get(value.casefold(), value)


def coded_text(group: Group, segment: str, field: int) -> str:
    """Return the text of a CE or CWE, else its other text (5, 9), else its code."""
    found = group.reading.repetitions(group.segment(segment), field)
    components = group.reading.components(found[0]) if found else []
    return next((text for at in (2, 5, 9, 1) if (text := part(components, at))), "")


def _report(
    reading: Reading,
    patient: ParsedPatient,
    group: Group,
    ids: ObservationIds,
    shared: SharedStudy,
    before: ParsedReport | None,
) -> ParsedReport:
    rules, issuer = reading.rules, reading.profile.issuer_of_order_numbers
    accessions = accessions_of(group)
    number = group.text(rules.report_number) or first_identifier(accessions).value
    parent = _parent_number(group, before)
    role = Role.ADDENDUM if parent and parent != number else Role.TEXT
    return ParsedReport(
        patient=patient,
        number=number,
        parent_number=parent,
        placer=first_identifier(group.identifiers(_PLACER, issuer)),
        filler=first_identifier(group.identifiers(_FILLER, issuer)),
        accessions=accessions,
        study_instance_uids=tuple(study_uids_of(group, ids, shared, accessions)),
        procedure=coded_text(group, "OBR", 4),
        modality=mapped_modality(group),
        body_part=body_part_of(group),
        observation_date=reading.time(group.text(rules.observation_date)),
        status_changed_at=reading.time(group.text(rules.status_changed)),
        message_time=reading.message_time,
        result_status=mapped_status(
            group.text(rules.result_status), rules.result_statuses, RESULT_STATUSES, "OBR", 25
        ),
        interpreter=person(reading, group.segment("OBR"), 32),
        parts=tuple(read_parts(reading, group.observations, ids, role)),
    )


def body_part_of(group: Group) -> str:
    """OBR-15.4: the site that a specimen, or an image, is of."""
    found = group.reading.repetitions(group.segment("OBR"), 15)
    components = group.reading.components(found[0]) if found else []
    return part(components, 4, 2) or part(components, 4)


def person(reading: Reading, segment: Segment, number: int) -> str:
    """Return who a field names: the id, else family and given name.

    NDL (OBR-32) keeps the person in subcomponents of its first component; systems also send XCN.
    """
    found = reading.repetitions(segment, number)
    if not found:
        return ""
    components = reading.components(found[0])
    first = components[0]
    names = first[1:3] if len(first) > 1 else [part(components, 2), part(components, 3)]
    return first[0] or "^".join(names).strip("^")


def _parent_number(group: Group, before: ParsedReport | None) -> str:
    """OBR-29: the filler's number of the parent, else the placer's.

    OBR-26 names an observation of the parent and no order; the parent is then the report before
    it in the message.
    """
    reading, obr = group.reading, group.segment("OBR")
    if found := reading.repetitions(obr, 29):
        components = reading.components(found[0])
        return part(components, 2) or part(components, 1)
    if before is not None and reading.first(obr[26]):
        return before.parent_number or before.number
    return ""


def join_bare(reports: Sequence[ParsedReport]) -> Iterator[ParsedReport]:
    """Let orders without an observation join the report beside them: one report, many studies.

    It is the report before them, or after them where none comes before, of the same patient and
    with the same status. What says something of its own (a status that differs) stays apart.
    """
    waiting: list[ParsedReport] = []
    current: ParsedReport | None = None
    joined: list[ParsedReport] = []
    for each in reports:
        if each.parts:
            if current is not None:
                yield _joined(current, joined)
                joined = []
            mine = [other for other in waiting if _belongs(other, each)]
            yield from (other for other in waiting if not _belongs(other, each))
            waiting, current, joined = [], each, mine
        elif current is not None and _belongs(each, current):
            joined.append(each)
        elif current is not None:
            yield _joined(current, joined)
            current, joined = None, []
            waiting.append(each)
        else:
            waiting.append(each)
    if current is not None:
        yield _joined(current, joined)
    yield from waiting


def _belongs(bare: ParsedReport, report: ParsedReport) -> bool:
    return (
        bare.patient is report.patient
        and not bare.parent_number
        and bare.result_status in ("", report.result_status)
    )


def _joined(report: ParsedReport, others: Sequence[ParsedReport]) -> ParsedReport:
    if not others:
        return report
    group = [report, *others]
    return replace(
        report,
        accessions=tuple(dict.fromkeys(each for one in group for each in one.accessions)),
        study_instance_uids=tuple(
            dict.fromkeys(uid for one in group for uid in one.study_instance_uids)
        ),
    )
