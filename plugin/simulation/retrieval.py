"""Query/Retrieve of the archive in this process: C-FIND at three levels, C-MOVE and C-GET."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pynetdicom import AE, evt
from pynetdicom.dsutils import encode
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelGet,
    PatientRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

_PENDING, _CANCEL = 0xFF00, 0xFE00
_NOBODYS = "1.2.840.10008.5.1.4.1.1.999"  # a SOP class that nobody accepts
_STUDY_ROOT = (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelGet,
)
_PATIENT_ROOT = (
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelMove,
    PatientRootQueryRetrieveInformationModelGet,
)
_UNIQUE = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}
_MATCHED = ("PatientID", "AccessionNumber", *_UNIQUE.values())

Held = Callable[[], list[tuple[Any, Dataset]]]
"""Returns path and header of every instance that the archive holds."""


@dataclass
class Habits:
    """How the archive answers; a test may change them while it runs.

    Attributes:
        destinations: host and port by AE title, for C-MOVE.
        says_for_whom: whether it names the Move Originator in its C-STOREs.
        study_root, patient_root: which information models it offers.
        withheld: SOP Instance UIDs whose sub-operations fail.
        strays: answers that it adds to every C-FIND, whatever was asked.
        before_sending: called before each object that it sends.
        before_answering: called before each answer to a query.
    """

    destinations: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    says_for_whom: bool = True
    study_root: bool = True
    patient_root: bool = True
    withheld: set[str] = field(default_factory=set)
    strays: list[Dataset] = field(default_factory=list)
    before_sending: Callable[[], None] = field(default=lambda: None)
    before_answering: Callable[[], None] = field(default=lambda: None)


class Retrieval:
    """Answers queries about what an archive holds, and sends it.

    Args:
        held: what there is.
        habits: how it answers.
    """

    def __init__(self, held: Held, habits: Habits) -> None:
        self._held = held
        self._habits = habits
        self.moved: list[str] = []
        """The Study Instance UIDs that were asked for by C-MOVE or C-GET, in order."""
        self.levels: list[str] = []
        """The Query/Retrieve Level of each of them."""
        self.sent: list[str] = []
        """The SOP Instance UIDs that it tried to send, in order."""

    def offer(self, entity: AE) -> list[tuple[Any, Any]]:
        """Have an AE offer the services; return their handlers."""
        models = (*(_STUDY_ROOT if self._habits.study_root else ()),)
        models += _PATIENT_ROOT if self._habits.patient_root else ()
        for model in models:
            entity.add_supported_context(model)
        for context in entity.supported_contexts:
            if context.abstract_syntax not in (*_STUDY_ROOT, *_PATIENT_ROOT):
                context.scu_role = context.scp_role = True
        return [
            (evt.EVT_C_FIND, self._on_find),
            (evt.EVT_C_MOVE, self._on_move),
            (evt.EVT_C_GET, self._on_get),
        ]

    def _matching(self, query: Dataset) -> list[tuple[Any, Dataset]]:
        asked = {name: _values(query, name) for name in _MATCHED}
        return [
            (path, header)
            for path, header in self._held()
            if all(
                any(_fits(str(header.get(name) or ""), value) for value in values)
                for name, values in asked.items()
            )
        ]

    def _on_find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        query = event.identifier
        level = str(query.QueryRetrieveLevel)
        found: dict[str, list[Dataset]] = {}
        for _, header in self._matching(query):
            found.setdefault(str(header[_UNIQUE[level]].value), []).append(header)
        for headers in found.values():
            if event.is_cancelled:
                yield _CANCEL, None
                return
            self._habits.before_answering()
            yield _PENDING, _answer(query, level, headers)
        for stray in self._habits.strays:
            yield _PENDING, stray

    def _on_move(self, event: Any) -> Iterator[Any]:
        address = self._habits.destinations.get(str(event.move_destination).strip())
        if address is None:
            yield None, None
            return
        for_whom = event.assoc.requestor.ae_title if self._habits.says_for_whom else ""
        kwargs = {
            "contexts": _contexts_of([header for _, header in self._matching(event.identifier)]),
            "evt_handlers": [(evt.EVT_DIMSE_SENT, _name_originator(for_whom))],
        }
        yield (*address, kwargs)
        yield from self._send(event)

    def _on_get(self, event: Any) -> Iterator[Any]:
        yield from self._send(event)

    def _send(self, event: Any) -> Iterator[Any]:
        found = self._matching(event.identifier)
        self.moved.append(str(event.identifier.get("StudyInstanceUID") or ""))
        self.levels.append(str(event.identifier.QueryRetrieveLevel))
        yield len(found)
        for path, header in found:
            if event.is_cancelled:
                yield _CANCEL, None
                return
            self._habits.before_sending()
            self.sent.append(str(header.SOPInstanceUID))
            if str(header.SOPInstanceUID) in self._habits.withheld:
                unsendable = Dataset()
                unsendable.SOPInstanceUID = header.SOPInstanceUID
                unsendable.SOPClassUID = _NOBODYS
                yield _PENDING, unsendable
            else:
                yield _PENDING, pydicom.dcmread(path)


def _contexts_of(headers: list[Dataset]) -> list[Any]:
    kinds = sorted({str(header.SOPClassUID) for header in headers})
    return [build_context(kind) for kind in kinds] or [build_context(_NOBODYS)]


def _name_originator(ae_title: str) -> Callable[[Any], None]:
    """Return what has a C-STORE-RQ name the AE that asked, where pynetdicom names the archive."""

    def rewrite(event: Any) -> None:
        command = event.message.command_set
        if "MoveOriginatorApplicationEntityTitle" not in command:
            return
        if ae_title:
            command.MoveOriginatorApplicationEntityTitle = ae_title
        else:
            del command.MoveOriginatorApplicationEntityTitle
            del command.MoveOriginatorMessageID
        del command.CommandGroupLength
        command.CommandGroupLength = len(encode(command, True, True) or b"")

    return rewrite


def _values(query: Dataset, name: str) -> list[str]:
    """Return what a key asks for; a list of UIDs asks for each (PS3.4 C.2.2.2.2)."""
    value = query.get(name)
    several = isinstance(value, MultiValue)
    return [str(each) for each in value] if several else [str(value or "")]


def _fits(value: str, asked: str) -> bool:
    """Match as PS3.4 C.2.2.2.1 and C.2.2.2.4 say: single values, and * for anything."""
    if not asked or value == asked:
        return True
    return asked.endswith("*") and value.startswith(asked.rstrip("*"))


def _answer(query: Dataset, level: str, headers: list[Dataset]) -> Dataset:
    """Return the attributes that were asked for, as far as the archive keeps them."""
    first = headers[0]
    answer = Dataset()
    answer.SpecificCharacterSet = "ISO_IR 192"
    answer.QueryRetrieveLevel = level
    for element in query:
        if element.keyword and element.VR != "SQ" and element.keyword in first:
            value = first.get(element.keyword)
            setattr(answer, element.keyword, "" if value is None else str(value))
    if level == "STUDY":
        answer.ModalitiesInStudy = sorted({str(each.get("Modality", "")) for each in headers})
        answer.NumberOfStudyRelatedInstances = len(headers)
    setattr(answer, _UNIQUE[level], first[_UNIQUE[level]].value)
    return answer
