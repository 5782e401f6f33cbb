"""ORM^O01, OMI^O23, OMG^O19 (IHE RAD-4, RAD-13): from order numbers to accession and study."""

from __future__ import annotations

from collections.abc import Iterator

from dicom_node.hl7.fields import Group, first_identifier
from dicom_node.hl7.observations import ObservationIds
from dicom_node.hl7.parsed import ParsedMessage, ParsedOrder, ParsedPatient
from dicom_node.hl7.patients import is_test_patient, read_patient
from dicom_node.hl7.results import (
    accessions_of,
    check_number,
    coded_text,
    mapped_modality,
    study_uids_of,
    trailing_study,
)
from dicom_node.hl7.rules import Path
from dicom_node.hl7.segments import Reading, Segment
from dicom_node.hl7.text import ContentFault
from dicom_node.linking.identifiers import NOBODY, Identifier

CANCELLING_CONTROLS = frozenset(("CA", "OC", "DC", "OD", "CR"))
"""Codes of table 0119 (ORC-1) that end an order."""

CANCELLED_STATUSES = frozenset(("CA", "DC"))
"""Codes of table 0038 (ORC-5) of an order that has ended."""

_PLACER, _FILLER = (Path("OBR", 2),), (Path("OBR", 3),)


def read_orders(reading: Reading) -> ParsedMessage:
    """Read each order; one with several accession numbers (IPC) is several.

    Raises:
        ContentFault: there is no patient, no order, or a value in them is not as it must be.
    """
    groups, ids = list(_groups(reading)), ObservationIds(reading)
    check_number(groups)
    shared = trailing_study(groups)
    patient: ParsedPatient | None = None
    orders: list[ParsedOrder] = []
    for group in groups:
        if pid := group.by_name.get("PID"):
            patient = read_patient(reading, pid[0])
        if patient is None:
            raise ContentFault("PID", 0, 100, "no PID segment stands before the first order")
        if is_test_patient(reading, patient):
            return ParsedMessage(reading.envelope, ignored="a test patient of the feed")
        for part in _split_by_accession(group):
            accessions = accessions_of(part)
            uids = study_uids_of(part, ids, shared, accessions)
            orders += [
                _order(reading, patient, part, accession, tuple(uids))
                for accession in accessions or (NOBODY,)
            ]
    if not orders:
        raise ContentFault("ORC", 0, 100, "the message has no ORC or OBR segment")
    return ParsedMessage(reading.envelope, orders=tuple(orders))


def _order(
    reading: Reading,
    patient: ParsedPatient,
    group: Group,
    accession: Identifier,
    uids: tuple[str, ...],
) -> ParsedOrder:
    orc = group.segment("ORC")
    issuer = reading.profile.issuer_of_order_numbers
    return ParsedOrder(
        patient=patient,
        placer=first_identifier(group.identifiers(_PLACER, issuer)),
        filler=first_identifier(group.identifiers(_FILLER, issuer)),
        accession=accession,
        study_instance_uids=uids,
        procedure=coded_text(group, "OBR", 4),
        modality=mapped_modality(group),
        cancelled=reading.first(orc[1]).upper() in CANCELLING_CONTROLS
        or reading.first(orc[5]).upper() in CANCELLED_STATUSES,
        ordered_at=reading.time(reading.first(orc[9])) or reading.message_time,
        message_time=reading.message_time,
    )


def _groups(reading: Reading) -> Iterator[Group]:
    """Yield the segments of each order: from an ORC, or an OBR that has none, to the next."""
    current: list[Segment] = []
    names: set[str] = set()
    for each in reading.segments[1:]:
        opens = each.name in ("PID", "ORC") and names & {"ORC", "OBR"}
        if opens or (each.name == "OBR" and "OBR" in names):
            yield Group(reading, current)
            current, names = [], set()
        current.append(each)
        names.add(each.name)
    if names & {"ORC", "OBR"}:
        yield Group(reading, current)


def _split_by_accession(group: Group) -> Iterator[Group]:
    """Yield a group for each IPC, which may name studies of several accession numbers."""
    ipcs = group.by_name.get("IPC", [])
    if len(ipcs) < 2:
        yield group
        return
    common = [each for each in group.segments if each.name != "IPC"]
    for ipc in ipcs:
        yield Group(group.reading, [*common, ipc])
