"""What a document is: ours, a reader's word on ours, a report, a rejection note, or something else.

A pure function of the document and of what is known to be ours, so that it may be asked again at
any time. What a device measured or an algorithm found is no report of a radiologist.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dicom_node.documents.kinds import REJECTIONS, Kind
from dicom_node.headers import Elements, Header
from dicom_node.history.rows import UnusableRow
from dicom_node.history.sr_tree import (
    code_of,
    is_verified,
    items_of,
    observers_of,
    one,
    references,
)
from dicom_node.history.structured import KEYWORDS, SOP_CLASSES
from dicom_node.sr.content import PRIVATE_SCHEME

RULE_VERSION = 2
"""Goes up with every change of the rules: documents are then looked at again."""

STRUCTURED = "1.2.840.10008.5.1.4.1.1.88."
"""Beginning of the SOP classes of structured reports and key object selections (PS3.4 B.5)."""

KEY_OBJECTS = f"{STRUCTURED}59"

READ = (
    *KEYWORDS,
    "ContentTemplateSequence",
    "ContributingEquipmentSequence",
    "CurrentRequestedProcedureEvidenceSequence",
    "PertinentOtherEvidenceSequence",
)
"""Elements that :func:`classify` reads."""

MOST_REJECTED = 20_000
"""Instances that one rejection note may name."""

_TEMPLATE_OF_MEASUREMENTS = "1500"
_UNIQUE_TRACKING = "112040"
_BASIC_TEXT = f"{STRUCTURED}11"
_LOINC = "LN"
_LOCAL = "99"  # beginning of coding schemes of one's own (PS3.16 8.2)
# PS3.16 CID 7000: those of its titles that no LOINC code names are of measurements.
_BREAST_REPORT = ("111400", "DCM")

_NAMES = {
    f"{STRUCTURED}50": "a mammography CAD",
    f"{STRUCTURED}65": "a chest CAD",
    f"{STRUCTURED}67": "an X-ray radiation dose report",
    f"{STRUCTURED}68": "a radiopharmaceutical dose report",
    f"{STRUCTURED}69": "a colon CAD",
    f"{STRUCTURED}76": "an enhanced X-ray radiation dose report",
    KEY_OBJECTS: "a key object selection that rejects nothing",
}


@dataclass(frozen=True, slots=True)
class Own:
    """By what documents of ours are known, as far as one document is concerned.

    Args:
        sop_instance_uids: of structured reports that were sent or built here, and of what readers
            made of them.
        device_uids: of models.
        tracking_uids: Tracking Unique Identifiers in structured reports about the study.
    """

    sop_instance_uids: frozenset[str] = frozenset()
    device_uids: frozenset[str] = frozenset()
    tracking_uids: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a document was taken for, and why; ``why`` holds no value of it.

    Args:
        kind: what it is.
        why: by which sign.
        title: code value and scheme of its title.
        refers_to: SOP Instance UIDs of ours that it names.
        verified: whether a person verified it.
        observers: names of persons who observed or verified.
        rejected: Study and SOP Instance UID of what a rejection note names.
    """

    kind: Kind
    why: str
    title: str = ""
    refers_to: tuple[str, ...] = ()
    verified: bool = False
    observers: tuple[str, ...] = ()
    rejected: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class Signs:
    """What a document says about itself and names, before anything is known to be ours."""

    title: tuple[str, str] = ("", "")
    of_a_device: bool = False
    of_a_person: bool = False
    template: str = ""
    verified: bool = False
    has_text: bool = False
    too_deep: bool = False
    observers: list[str] = field(default_factory=list)
    predecessors: list[tuple[str, str]] = field(default_factory=list)  # Study, SOP Instance UID
    named: set[str] = field(default_factory=set)  # SOP Instance UIDs
    # Study and SOP Instance UID of what may be a document; the study is empty where it is not said.
    documents: set[tuple[str, str]] = field(default_factory=set)
    device_uids: set[str] = field(default_factory=set)
    tracking_uids: set[str] = field(default_factory=set)


def signs_of(document: Elements) -> Signs:
    """Return the signs in a document's elements of :data:`READ`."""
    found = Signs(title=code_of(document))
    found.predecessors = references(document, "PredecessorDocumentsSequence")
    templates = document.get("ContentTemplateSequence") or [{}]
    found.template = one(templates[0], "TemplateIdentifier")
    found.verified = is_verified(document)
    for keyword in ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence"):
        found.named |= {uid for _, uid in references(document, keyword)}
        found.documents |= _documents_among(document, keyword)
    found.named |= {uid for _, uid in found.predecessors}
    for equipment in document.get("ContributingEquipmentSequence", ()):
        found.device_uids.add(one(equipment, "DeviceUID"))
    _read_items(document, found)
    for each in (found.named, found.device_uids, found.tracking_uids):
        each.discard("")
    return found


def _read_items(document: Elements, found: Signs) -> None:
    try:
        for each in items_of(document):
            item = each.elements
            found.has_text |= bool(each.narrative)
            if code_of(item)[0] == _UNIQUE_TRACKING:
                found.tracking_uids.add(one(item, "UID"))
            for reference in item.get("ReferencedSOPSequence", ()):
                found.named.add(one(reference, "ReferencedSOPInstanceUID"))
                if _is_document(reference):
                    found.documents.add(("", one(reference, "ReferencedSOPInstanceUID")))
        observers = observers_of(document)
    except UnusableRow:
        # A device nests deeper than a person writes; text that is cut off must not be taken.
        found.too_deep = True
        return
    found.observers = observers.persons
    found.device_uids |= observers.device_uids
    found.of_a_device, found.of_a_person = observers.is_of_a_device, observers.has_person


def _documents_among(document: Elements, keyword: str) -> set[tuple[str, str]]:
    return {
        (one(study, "StudyInstanceUID"), one(instance, "ReferencedSOPInstanceUID"))
        for study in document.get(keyword, ())
        for series in study.get("ReferencedSeriesSequence", ())
        for instance in series.get("ReferencedSOPSequence", ())
        if _is_document(instance)
    }


def _is_document(reference: Elements) -> bool:
    """Tell whether a reference may be to a structured report: where its class is unsaid, it may."""
    sop_class = one(reference, "ReferencedSOPClassUID")
    return not sop_class or sop_class.startswith(STRUCTURED)


def classify(header: Header, document: Elements, signs: Signs, own: Own) -> Verdict:
    """Tell what a structured report or key object selection is.

    Args:
        header: of the object.
        document: its elements of :data:`READ`.
        signs: of :func:`signs_of`.
        own: what of that is ours.
    """
    if header.sop_class_uid == KEY_OBJECTS:
        return _key_objects(document, signs)
    kind, why = _kind(header, signs, own)
    return Verdict(
        kind,
        why,
        " ".join(signs.title).strip(),
        tuple(sorted(signs.named & own.sop_instance_uids)),
        signs.verified,
        tuple(signs.observers),
    )


def _kind(header: Header, signs: Signs, own: Own) -> tuple[Kind, str]:
    by_person = signs.verified or bool(signs.observers)
    made_by_us = signs.title[1] == PRIVATE_SCHEME or bool(signs.device_uids & own.device_uids)
    if header.sop_instance_uid in own.sop_instance_uids:
        if signs.verified:
            return Kind.CORRECTION, "a person verified a report of ours under its own UID"
        return Kind.OURS, "a structured report that was made here"
    if follows := _follows(signs, own):
        if made_by_us and not by_person:
            return Kind.OURS, f"{follows}, and nobody else had a part in it"
        return Kind.CORRECTION, follows
    if made_by_us:
        if by_person:
            return Kind.CORRECTION, "a person's version of a report of this program"
        return Kind.OURS, "a structured report of this program"
    if why := _no_report(header.sop_class_uid, signs):
        return Kind.OTHER, why
    return Kind.REPORT, "a narrative report of a person"


def _follows(signs: Signs, own: Own) -> str:
    """Say how a document follows one of ours, or return an empty text."""
    if own.sop_instance_uids.intersection(uid for _, uid in signs.predecessors):
        return "it replaces a report of ours"
    if signs.tracking_uids & own.tracking_uids:
        return "it speaks of findings of ours"
    if signs.template == _TEMPLATE_OF_MEASUREMENTS and signs.named & own.sop_instance_uids:
        return "its measurements cite a report of ours"
    return ""


def _no_report(sop_class_uid: str, signs: Signs) -> str:
    """Say why a document is no narrative report of a person, or return an empty text."""
    if sop_class_uid not in SOP_CLASSES:
        return _NAMES.get(sop_class_uid, "a structured report of another kind than text")
    if signs.too_deep:
        return "a structured report that is nested deeper than it can be read"
    if signs.of_a_device:
        return "a device or an algorithm made it, no person"
    if not signs.of_a_person:
        return "nothing says that a person observed, wrote or verified it"
    if not signs.has_text:
        return "a structured report without text"
    if signs.template == _TEMPLATE_OF_MEASUREMENTS:
        return "a measurement report"
    scheme = signs.title[1]
    titled = scheme == _LOINC or signs.title == _BREAST_REPORT
    titled |= signs.verified and scheme.startswith(_LOCAL)
    if sop_class_uid != _BASIC_TEXT and not titled:
        return "its title is none of a report"
    return ""


def _key_objects(document: Elements, signs: Signs) -> Verdict:
    title = " ".join(signs.title).strip()
    if title not in REJECTIONS:
        return Verdict(Kind.OTHER, _NAMES[KEY_OBJECTS], title)
    rejected = references(document, "CurrentRequestedProcedureEvidenceSequence")
    return Verdict(
        Kind.REJECTION,
        REJECTIONS[title],
        title,
        observers=tuple(signs.observers),
        rejected=tuple(dict.fromkeys(rejected)),
    )


def doubt(verdict: Verdict, study_instance_uid: str) -> str:
    """Say why nothing that a rejection note names is taken out of use; empty where some is.

    What a note names in its own study is honoured, whatever else it names.

    Args:
        verdict: about the note.
        study_instance_uid: of the note.
    """
    named = {study for study, uid in verdict.rejected if uid}
    if not named:
        return "it does not say which instances it rejects"
    if len(verdict.rejected) > MOST_REJECTED:
        return f"it names more than {MOST_REJECTED} instances"
    if study_instance_uid not in named:
        return "it names instances of other studies than its own alone"
    return ""


def beyond(verdict: Verdict, study_instance_uid: str) -> str:
    """Say what a rejection note names beside instances of its own study; empty for nothing."""
    others = {study for study, uid in verdict.rejected if uid} - {study_instance_uid}
    if not others:
        return ""
    return f"it also names {len(others)} other studies; those of the same patient are meant as well"
