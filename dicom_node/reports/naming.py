"""What a report names: its patient, accession numbers and studies, over several messages."""

from __future__ import annotations

from dataclasses import replace

from dicom_node.hl7.parsed import ParsedPatient, ParsedReport


def contradiction(report: ParsedReport, text: ParsedReport | None) -> str:
    """Say why a message cannot be about a text that came with another one; empty if it can.

    Identifiers of patients are not compared: a merge may lie between the two messages. The version
    names those of both, and linking refuses them where they are two people.
    """
    if text is None:
        return ""
    one, other = report.patient, text.patient
    if one.birth_date and other.birth_date and one.birth_date != other.birth_date:
        return "a message names another birth date than the text that it belongs to"
    if {one.sex, other.sex} == {"M", "F"}:
        return "a message names another sex than the text that it belongs to"
    mine, theirs = _accession_numbers(report), _accession_numbers(text)
    if mine and theirs and mine.isdisjoint(theirs):
        return "a message names other accession numbers than the text that it belongs to"
    uids, known = report.study_instance_uids, text.study_instance_uids
    if uids and known and set(uids).isdisjoint(known):
        return "a message names other studies than the text that it belongs to"
    return ""


def _accession_numbers(report: ParsedReport) -> set[str]:
    """Return the accession numbers, without one that only repeats the number of the document.

    A child order that names no accession number is often read as naming its own number.
    """
    own = {report.number} if report.parent_number else set()
    return {each.value for each in report.accessions} - own


def inherit(report: ParsedReport, before: ParsedReport | None) -> ParsedReport:
    """Return a message with the accession numbers and studies that it leaves to earlier ones.

    What a message names replaces what was named before: a corrected accession number must not
    keep the wrong one. The patient is never inherited: text counts for whom it names.
    """
    if before is None:
        return report
    accessions, studies = report.accessions, report.study_instance_uids
    if not studies and (not accessions or set(accessions) == set(before.accessions)):
        studies = before.study_instance_uids
    named = set(report.study_instance_uids)
    if not accessions and (not named or named == set(before.study_instance_uids)):
        accessions = before.accessions
    return replace(report, accessions=accessions, study_instance_uids=studies)


def refer(report: ParsedReport, text: ParsedReport) -> ParsedReport:
    """Return what came with a text, with the patient as a later message about it names it too."""
    return replace(
        text,
        patient=join_patients(report.patient, text.patient),
        accessions=text.accessions or report.accessions,
        study_instance_uids=text.study_instance_uids or report.study_instance_uids,
    )


def join_patients(one: ParsedPatient, other: ParsedPatient) -> ParsedPatient:
    """Return a patient with the identifiers of both; the values of the first count."""
    return ParsedPatient(
        identifiers=tuple(dict.fromkeys((*one.identifiers, *other.identifiers))),
        name=one.name or other.name,
        birth_date=one.birth_date or other.birth_date,
        sex=one.sex or other.sex,
    )
