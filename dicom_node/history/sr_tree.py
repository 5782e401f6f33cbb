"""The tree of a structured report: its items, what of it is narrative, and who observed it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from dicom_node.headers import DEEPEST_ITEM, Elements
from dicom_node.history.rows import UnusableRow
from dicom_node.sr.content import PRIVATE_SCHEME

HEADINGS = {
    "11329-0": "HISTORY",  # LOINC
    "121060": "HISTORY",  # DCM
    "18834-2": "COMPARISON",
    "121068": "COMPARISON",
    "121069": "COMPARISON",
    "55111-9": "TECHNIQUE",
    "121064": "TECHNIQUE",
    "121065": "TECHNIQUE",
    "18782-3": "FINDINGS",
    "59776-5": "FINDINGS",
    "121070": "FINDINGS",
    "121071": "FINDINGS",
    "19005-8": "IMPRESSION",
    "121072": "IMPRESSION",
    "121073": "IMPRESSION",
    "121076": "IMPRESSION",
    "121077": "IMPRESSION",
    "55107-7": "ADDENDUM",
    "121078": "ADDENDUM",
}
"""Concept names of sections (PS3.16 CID 7001, 7002) and the heading that they become."""

DEEPEST_CONTENT = DEEPEST_ITEM - 4
"""Level of content items that are read; the parser hands out what their codes and references say,
which lie up to four levels deeper, and whether there is anything below them."""

# PS3.3 C.17.3.2.4: what stands in any other relation describes its parent and its circumstances.
_NARRATIVE = frozenset(("", "CONTAINS", "INFERRED FROM", "HAS PROPERTIES"))
_OBSERVER_TYPE, _OBSERVER_NAME, _ALGORITHM_NAME = "121005", "121008", "111001"
_DEVICE, _DEVICE_UID = "121007", "121012"
_OF_DEVICES = frozenset((_DEVICE_UID, "121013", "121014", "121015", "121016", "121017"))


@dataclass(frozen=True, slots=True)
class Item:
    """A content item where it stands.

    Args:
        elements: of the item.
        heading: of its section; empty where it stands below none.
        is_told: whether it and all above it belong to what the document tells, and not to who
            observed, how it was acquired or what modifies a name.
    """

    elements: Elements
    heading: str
    is_told: bool

    @property
    def narrative(self) -> str:
        """The text of an item of narrative; empty for any other."""
        is_text = self.is_told and one(self.elements, "ValueType") == "TEXT"
        return one(self.elements, "TextValue") if is_text else ""


@dataclass(slots=True)
class Observers:
    """Who observed what a document says (PS3.16 TID 1001, PS3.3 C.17.2).

    Args:
        persons: names of persons who observed, wrote or verified.
        has_person: whether a person did; some are named by a code alone.
        has_device: whether a device did.
        has_algorithm: whether the document names an algorithm, or is one of this program.
        device_uids: of the devices.
    """

    persons: list[str] = field(default_factory=list)
    has_person: bool = False
    has_device: bool = False
    has_algorithm: bool = False
    device_uids: set[str] = field(default_factory=set)

    @property
    def is_of_a_device(self) -> bool:
        """Whether an algorithm found what the document says, or a device and no person did."""
        return self.has_algorithm or (self.has_device and not self.has_person)


def items_of(document: Elements) -> Iterator[Item]:
    """Yield the content items of a document in its order.

    Raises:
        UnusableRow: they are nested deeper than the parser hands them out.
    """
    yield from _below(document, "", True, 1)


def _below(parent: Elements, above: str, told: bool, level: int) -> Iterator[Item]:
    for child in parent.get("ContentSequence", ()):
        if level > DEEPEST_CONTENT:
            raise UnusableRow("text", "it is nested deeper than it can be read")
        heading = HEADINGS.get(code_of(child)[0]) or above
        is_told = told and one(child, "RelationshipType") in _NARRATIVE
        yield Item(child, heading, is_told)
        yield from _below(child, heading, is_told, level + 1)


def is_verified(document: Elements) -> bool:
    """Tell whether a person verified a document."""
    verifiers = document.get("VerifyingObserverSequence", ())
    return bool(verifiers) and one(document, "VerificationFlag") == "VERIFIED"


def observers_of(document: Elements) -> Observers:
    """Return who observed, by the content and by the authors and verifiers in the header.

    Raises:
        UnusableRow: see :func:`items_of`.
    """
    found = Observers(has_algorithm=code_of(document)[1] == PRIVATE_SCHEME)
    found.has_person = is_verified(document)
    for verifier in document.get("VerifyingObserverSequence", ()):
        found.persons.append(one(verifier, "VerifyingObserverName"))
    for author in document.get("AuthorObserverSequence", ()):
        kind = one(author, "ObserverType")
        if kind == "PSN":
            found.has_person = True
            found.persons.append(one(author, "PersonName"))
        elif kind == "DEV":
            found.has_device = True
            found.device_uids.add(one(author, "DeviceUID"))
    for each in items_of(document):
        _observe(each.elements, found)
    found.persons = list(dict.fromkeys(filter(None, found.persons)))
    found.device_uids.discard("")
    return found


def _observe(item: Elements, found: Observers) -> None:
    name = code_of(item)[0]
    if name == _OBSERVER_NAME and (person := one(item, "PersonName")):
        found.has_person = True
        found.persons.append(person)
    found.has_algorithm |= name == _ALGORITHM_NAME
    found.has_device |= name in _OF_DEVICES
    found.has_device |= name == _OBSERVER_TYPE and _coded_value(item) == _DEVICE
    if name == _DEVICE_UID:
        found.device_uids.add(one(item, "UID"))


def references(document: Elements, keyword: str) -> list[tuple[str, str]]:
    """Return Study and SOP Instance UID of each instance that a hierarchical reference names.

    Args:
        document: elements of a document.
        keyword: of a SOP Instance Reference Macro (PS3.3 C.17.2.1).
    """
    return [
        (one(study, "StudyInstanceUID"), one(instance, "ReferencedSOPInstanceUID"))
        for study in document.get(keyword, ())
        for series in study.get("ReferencedSeriesSequence", ())
        for instance in series.get("ReferencedSOPSequence", ())
    ]


def code_of(item: Elements) -> tuple[str, str]:
    """Return value and scheme of the concept name of a content item, or of a document's title."""
    names = item.get("ConceptNameCodeSequence") or [{}]
    return one(names[0], "CodeValue"), one(names[0], "CodingSchemeDesignator")


def _coded_value(item: Elements) -> str:
    values = item.get("ConceptCodeSequence") or [{}]
    return one(values[0], "CodeValue")


def one(item: Elements, keyword: str) -> str:
    """Return the first value of an element without padding; empty where there is none."""
    values = item.get(keyword) or [""]
    return str(values[0]).strip()
