"""The conformance statement against a receiver that runs: what it says is what the port does."""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydicom._uid_dict import UID_dictionary
from pynetdicom.presentation import AllStoragePresentationContexts

from dicom_node.commitment.vocabulary import MAXIMUM_INFORMATION_BYTES, MAXIMUM_REFERENCES
from dicom_node.conformance import markers, with_tables
from dicom_node.receiver import Receivers
from dicom_node.settings import CallingPeer, DicomSettings
from dicom_node.storage import DicomStore
from tests.builders import encode, mr_image
from tests.commitment_room import action, missing
from tests.raw_dicom import (
    EXPLICIT,
    VERIFICATION,
    RawAssociation,
    fragment,
    notice_command,
    pdu,
)

DOCUMENT = (Path(__file__).parents[2] / "deploy/conformance.md").read_text(encoding="utf-8")
MR = "1.2.840.10008.5.1.4.1.1.4"
COMMITMENT = "1.2.840.10008.1.20.1"
IMPLICIT = "1.2.840.10008.1.2"
PRIVATE = ("1.2.840.113619.4.26", "1.3.12.2.1107.5.9.1", "1.2.3", "2.25.1")
_CONTEXTS = 128  # of one association
Pairs = Sequence[tuple[str, str]]


def table(name: str) -> list[dict[str, str]]:
    """Read a table of the document."""
    begin, end = markers(name)
    lines = DOCUMENT.partition(begin)[2].partition(end)[0].strip().splitlines()
    rows = [[cell.strip() for cell in line.strip("| ").split(" |")] for line in lines]
    head = rows[0]
    return [dict(zip(head, [cell.strip("| ") for cell in row], strict=False)) for row in rows[2:]]


class Node:
    """One receiver on a free port."""

    def __init__(self, root: Path, **settings: Any) -> None:
        self.store = DicomStore(root)
        self.store.recover()
        values = {"port": 0, "minimum_free_bytes": 0, "receiver_processes": 1}
        values |= {"accept_unknown_peers": True} | settings
        self.receivers = Receivers(DicomSettings.model_validate(values), root)
        self.receivers.start()

    def associate(self, pairs: Pairs = ((MR, EXPLICIT),), **names: Any) -> RawAssociation:
        return RawAssociation(self.receivers.address, pairs, **names)

    def results(self, pairs: Pairs) -> list[int]:
        """Return the result of each proposed context, proposing as many as fit at a time."""
        found = []
        for start in range(0, len(pairs), _CONTEXTS):
            part = pairs[start : start + _CONTEXTS]
            with self.associate(part) as association:
                answer = Answer.of(association.body)
                association.release()
            assert sorted(answer.results) == [2 * n + 1 for n in range(len(part))]
            found += [answer.results[2 * n + 1] for n in range(len(part))]
        return found

    def accepted(self, pairs: Pairs) -> set[tuple[str, str]]:
        return {pair for pair, result in zip(pairs, self.results(pairs), strict=True) if not result}


@dataclass(frozen=True)
class Answer:
    """An A-ASSOCIATE-AC, read by hand (PS3.8 9.3.3)."""

    application_context: str
    results: dict[int, int]
    user: dict[int, bytes]

    @classmethod
    def of(cls, body: bytes) -> "Answer":
        items = list(_items(body[68:]))
        contexts = [value for kind, value in items if kind == 0x21]
        return cls(
            application_context=next(value for kind, value in items if kind == 0x10).decode(),
            results={value[0]: value[2] for value in contexts},
            user=dict(_items(next(value for kind, value in items if kind == 0x50))),
        )


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(data):
        kind, length = struct.unpack_from(">BxH", data, position)
        yield kind, data[position + 4 : position + 4 + length]
        position += 4 + length


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    node = Node(tmp_path_factory.mktemp("node"), maximum_object_bytes=100_000)
    yield node
    node.receivers.stop()


def of_dictionary(*kinds: str) -> set[str]:
    return {str(uid) for uid, (_, kind, *_) in UID_dictionary.items() if kind in kinds}


def test_the_tables_of_the_document_are_up_to_date() -> None:
    assert with_tables(DOCUMENT) == DOCUMENT, "run python -m dicom_node.conformance"


def test_the_document_without_a_marker_is_refused() -> None:
    with pytest.raises(ValueError, match="no markers for the table of statuses"):
        with_tables(DOCUMENT.replace(markers("statuses")[1], ""))


def test_the_port_accepts_the_sop_classes_of_the_table_and_no_other(node: Node) -> None:
    stated = {row["UID"] for row in table("sop classes")}
    known = {str(context.abstract_syntax) for context in AllStoragePresentationContexts}
    proposed = sorted(of_dictionary("SOP Class", "Meta SOP Class") | known | stated | {*PRIVATE})
    accepted = node.accepted([(uid, EXPLICIT) for uid in proposed])
    assert {uid for uid, _ in accepted} == stated
    assert len(proposed) > len(stated) + 100


@pytest.mark.parametrize("abstract", [MR, VERIFICATION])
def test_the_port_accepts_the_transfer_syntaxes_of_the_table_and_no_other(
    node: Node, abstract: str
) -> None:
    rows = table("transfer syntaxes")
    stated = {row["UID"] for row in rows if row["accepted"] == "yes"}
    proposed = sorted(of_dictionary("Transfer Syntax") | {row["UID"] for row in rows} | {*PRIVATE})
    accepted = node.accepted([(abstract, syntax) for syntax in proposed])
    assert {syntax for _, syntax in accepted} == stated


def test_every_pair_of_the_tables_is_accepted(node: Node) -> None:
    classes = [row["UID"] for row in table("sop classes") if row["UID"] != COMMITMENT]
    syntaxes = [row["UID"] for row in table("transfer syntaxes") if row["accepted"] == "yes"]
    pairs = [(kind, syntax) for kind in classes for syntax in syntaxes]
    assert set(node.results(pairs)) == {0}


def test_storage_commitment_is_accepted_in_little_endian_alone(node: Node) -> None:
    syntaxes = sorted(of_dictionary("Transfer Syntax"))
    accepted = node.accepted([(COMMITMENT, syntax) for syntax in syntaxes])
    assert {syntax for _, syntax in accepted} == {EXPLICIT, IMPLICIT}


def test_settings_open_what_the_tables_leave_closed(tmp_path: Path) -> None:
    on_request = {row["UID"]: row["accepted"] for row in table("transfer syntaxes")}
    deflated = [uid for uid, when in on_request.items() if when == "`accept_deflated`"]
    node = Node(
        tmp_path,
        accept_deflated=True,
        private_sop_classes=PRIVATE[:1],
        private_transfer_syntaxes=PRIVATE[1:2],
    )
    try:
        assert len(deflated) == 4
        assert node.results([(MR, uid) for uid in deflated]) == [0] * 4
        pairs = [(PRIVATE[0], EXPLICIT), (MR, PRIVATE[1]), (PRIVATE[2], EXPLICIT), (MR, PRIVATE[2])]
        assert node.results(pairs) == [0, 0, 3, 4]
    finally:
        node.receivers.stop()


def test_the_port_introduces_itself_as_the_document_says(node: Node) -> None:
    with node.associate() as association:
        answer = Answer.of(association.body)
        association.release()
    stated = {row["item"]: row["value"] for row in table("identity")}
    assert answer.application_context == stated["Application Context Name"]
    assert answer.user[0x52].decode() == stated["Implementation Class UID"]
    assert answer.user[0x55].decode() == stated["Implementation Version Name"]
    maximum = int.from_bytes(answer.user[0x51], "big")
    assert stated["Maximum Length Received"].startswith(f"{maximum} ")
    assert set(answer.user) == {0x51, 0x52, 0x55}  # no asynchronous window, no role selection


def rejection(association: RawAssociation) -> tuple[str, ...]:
    with association:
        assert association.answer == 3
        return tuple(map(str, association.body[1:4]))


def test_every_rejection_of_the_table_is_given_and_no_other(tmp_path: Path) -> None:
    peers = [
        CallingPeer(ae_title="SCANNER", maximum_associations=1).model_dump(),
        CallingPeer(ae_title="FAR", host="192.0.2.7").model_dump(),
    ]
    node = Node(tmp_path / "a", peers=peers)
    full = Node(tmp_path / "b", minimum_free_bytes=2**60)
    try:
        with node.associate() as held:
            found = [
                rejection(node.associate(called="OTHER")),
                rejection(node.associate(calling="FAR")),
                rejection(full.associate()),
                rejection(node.associate()),
            ]
            held.release()
    finally:
        node.receivers.stop()
        full.receivers.stop()
    stated = [(row["result"], row["source"], row["reason"]) for row in table("rejections")]
    assert found == stated


def test_every_status_of_the_table_is_given_when_it_says(node: Node) -> None:
    image = mr_image(study="conformance")
    data, named = encode(image), str(image.SOPInstanceUID)
    find = fragment(1, 3, _command(0x0020))
    found: list[tuple[int, str]] = []
    for kind, name, content in (
        (MR, named, data),
        (MR, named, data + bytes(200_000)),
        (MR, "1.2.3", data),
        (MR, named, b"no data set at all"),
    ):
        with node.associate() as association:
            status = association.store(kind, name, content)
            found.append((status, _what_follows(association)))
    with node.associate() as association:
        association.socket.sendall(find)
        found.append((association.read_status(), _what_follows(association)))
    stated = {(int(row["status"], 16), row["association"]) for row in table("statuses")}
    # A full disk cannot be had here; tests/acceptance fill a real one.
    assert stated - set(found) == {(0xA700, "stays")}
    assert set(found) <= stated


def _command(field: int) -> bytes:
    """Return a request of any operation, without a data set."""
    numbers = ((0x0100, field), (0x0110, 1), (0x0800, 0x0101))
    elements = [(0x0002, MR.encode() + b"\0")]
    elements += [(element, struct.pack("<H", number)) for element, number in numbers]
    body = b"".join(struct.pack("<HHL", 0, tag, len(value)) + value for tag, value in elements)
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + body


def _what_follows(association: RawAssociation) -> str:
    association.socket.sendall(pdu(5, bytes(4)))
    return {6: "stays", 7: "A-ABORT follows"}[association.read_pdu()[0]]


def test_every_abort_of_the_table_is_given_and_no_other(node: Node) -> None:
    found = set()
    for data in (
        fragment(1, 3, _command(0x8001)),  # a response that nobody asked for
        pdu(9, bytes(4)),  # no such PDU type
        pdu(2, bytes(68)),  # an A-ASSOCIATE-AC, to an acceptor
        struct.pack(">BxL", 4, 2**32 - 1),  # longer than offered
        fragment(3, 3, _command(0x0030)),  # a context that was not accepted
    ):
        with node.associate() as association:
            association.socket.sendall(data)
            kind, body = association.read_pdu()
            assert (kind, body[2]) == (7, 2)
            found.add(str(body[3]))
    assert found == {row["reason"] for row in table("aborts")}


def test_every_status_of_storage_commitment_is_given_when_it_says(node: Node) -> None:
    found = set()
    good = encode(action("2.25.1", [missing(1)]))
    too_many = encode(action("2.25.1", [(MR, f"1.{n}") for n in range(MAXIMUM_REFERENCES + 1)]))
    for command, data, roles in (
        ({}, good, None),
        ({"instance": "1.2.3"}, good, None),
        ({"field": 0x0100, "type_id": 3}, good, None),
        ({}, good[:-1], None),
        ({"sop_class": MR}, good, None),
        ({"type_id": 2}, good, None),
        ({}, good, (0, 1)),
        ({"field": 0x0140}, good, None),
        ({}, too_many, None),
        ({}, bytes(MAXIMUM_INFORMATION_BYTES + 1), None),
    ):
        pairs = [(COMMITMENT, EXPLICIT)]
        with RawAssociation(node.receivers.address, pairs, roles=roles) as association:
            association.socket.sendall(fragment(1, 3, notice_command(**command)))
            for start in range(0, len(data), 100_000):
                last = 2 * (start + 100_000 >= len(data))
                association.socket.sendall(fragment(1, last, data[start : start + 100_000]))
            found.add((association.read_status(), _what_follows(association)))
    rows = table("commitment statuses")
    assert found == {(int(row["status"], 16), row["association"]) for row in rows}
    assert len(rows) == 10
