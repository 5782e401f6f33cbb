"""Who gets an association from a receiver that runs: titles and addresses by the hundred."""

import itertools
from pathlib import Path

import pytest

from dicom_node.receiver import Receivers
from dicom_node.settings import CallingPeer, DicomSettings
from dicom_node.storage import DicomStore
from tests.raw_dicom import RawAssociation

PEERS = (
    CallingPeer(ae_title="MR1", host="127.0.0.2"),
    CallingPeer(ae_title="MR1", host="127.0.0.3"),
    CallingPeer(ae_title="CT1", networks=("127.0.0.128/25",)),
    CallingPeer(ae_title="FREE"),
)
# What the table above means, by hand: from where a title may be used.
RIGHTFUL = {"MR1": {"127.0.0.2", "127.0.0.3"}, "CT1": {"127.0.0.200"}}
TITLES = ("MR1", "CT1", "FREE", "STRANGER", "mr1", "MR1.", "MR 1", " MR1")
SOURCES = ("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.200")
CALLED = ("RADLOOP", "radloop")


def is_rightful(title: str, source: str, known_only: bool) -> bool:
    title = title.strip()
    if title in RIGHTFUL:
        return source in RIGHTFUL[title]
    return title == "FREE" or not known_only


@pytest.mark.parametrize("known_only", [True, False])
def test_no_association_for_a_borrowed_or_unknown_title(tmp_path: Path, known_only: bool) -> None:
    DicomStore(tmp_path).recover()
    settings = DicomSettings(
        port=0,
        minimum_free_bytes=0,
        receiver_processes=1,
        peers=PEERS,
        accept_unknown_peers=not known_only,
    )
    receivers = Receivers(settings, tmp_path)
    receivers.start()
    expected, found = {}, {}
    try:
        for case in itertools.product(TITLES, CALLED, SOURCES):
            title, called, source = case
            rejected = (1, 1, 7)
            if called == "RADLOOP":
                rejected = () if is_rightful(title, source, known_only) else (1, 1, 3)
            expected[case] = rejected
            with RawAssociation(
                receivers.address, calling=title, called=called, source=source
            ) as association:
                found[case] = tuple(association.body[1:4]) if association.answer == 3 else ()
                if association.answer == 2:
                    association.release()
    finally:
        receivers.stop()
    assert len(found) == 64
    assert {case: answer for case, answer in found.items() if answer != expected[case]} == {}
