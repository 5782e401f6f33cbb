"""Which profile holds for a sender: settings, then files, then defaults."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node.feeds.profile import FeedProfile
from dicom_node.feeds.registry import Profiles, file_name
from dicom_node.settings import Hl7Settings

RIS = "RIS|NORTH"
ACCEPTED = 'action = "accept"\n[profile]\nsender = "RIS|NORTH"\nissuer_of_patient_id = "NORTH"\n'


def decide(folder: Path, text: str, sender: str = RIS) -> None:
    (folder / file_name(sender)).write_text(text, encoding="utf-8")


def test_an_unknown_sender_gets_the_defaults_and_is_not_accepted() -> None:
    profiles = Profiles(Hl7Settings(default_charset="latin-1", default_issuer_of_patient_id="H"))
    assert profiles.of("X|Y").charset == "latin-1"
    assert profiles.of("X|Y").issuer_of_patient_id == "H"
    assert not profiles.accepted("X|Y")
    assert Profiles(Hl7Settings(accept_unknown_feeds=True)).accepted("X|Y")


def test_a_sender_without_a_name_has_a_profile_too() -> None:
    assert Profiles(Hl7Settings()).of("").sender == ""


def test_an_accepted_file_is_seen_once_it_is_there(tmp_path: Path) -> None:
    profiles = Profiles(Hl7Settings(), tmp_path)
    before = profiles.digest(RIS)
    decide(tmp_path, ACCEPTED)
    assert not profiles.accepted(RIS)
    assert profiles.reload_if_changed()
    assert profiles.accepted(RIS)
    assert profiles.of(RIS).issuer_of_patient_id == "NORTH"
    assert profiles.digest(RIS) != before
    assert not profiles.reload_if_changed()


def test_a_folder_that_does_not_exist_yet_holds_nothing(tmp_path: Path) -> None:
    profiles = Profiles(Hl7Settings(), tmp_path / "feeds")
    assert not profiles.reload_if_changed()
    (tmp_path / "feeds").mkdir()
    decide(tmp_path / "feeds", ACCEPTED)
    assert profiles.reload_if_changed()
    assert profiles.accepted(RIS)


def test_a_withdrawn_profile_is_not_accepted_even_where_unknown_senders_are(tmp_path: Path) -> None:
    decide(tmp_path, ACCEPTED.replace("accept", "withdraw"))
    profiles = Profiles(Hl7Settings(accept_unknown_feeds=True), tmp_path)
    assert not profiles.accepted(RIS)
    assert profiles.of(RIS).issuer_of_patient_id == ""
    assert profiles.accepted("OTHER|NORTH")


@pytest.mark.parametrize(
    "text",
    ["", "not toml [", 'action = "accept"\n', ACCEPTED + "unknown = 1\n", "\udcff", ACCEPTED[:40]],
)
def test_a_file_that_cannot_be_read_accepts_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / file_name(RIS)).write_bytes(text.encode("utf-8", errors="surrogateescape"))
    profiles = Profiles(Hl7Settings(accept_unknown_feeds=True), tmp_path)
    assert not profiles.accepted(RIS)
    assert profiles.problems == (file_name(RIS),)


def test_a_file_under_another_senders_name_counts_for_nobody(tmp_path: Path) -> None:
    decide(tmp_path, ACCEPTED, sender="OTHER|NORTH")
    profiles = Profiles(Hl7Settings(), tmp_path)
    assert not profiles.accepted(RIS)
    assert not profiles.accepted("OTHER|NORTH")
    assert len(profiles.problems) == 1


def test_the_settings_win_over_an_accepted_file(tmp_path: Path) -> None:
    decide(tmp_path, ACCEPTED.replace("accept", "withdraw"))
    listed = FeedProfile(sender=RIS, issuer_of_patient_id="SETTINGS")
    profiles = Profiles(Hl7Settings(feeds=(listed,)), tmp_path)
    assert profiles.accepted(RIS)
    assert profiles.of(RIS).issuer_of_patient_id == "SETTINGS"


def test_only_accepted_profiles_declare_equivalences(tmp_path: Path) -> None:
    declared = 'equivalent_issuers = [["A", "B"]]\ntrusted_assumed_issuers = ["N"]\n'
    decide(tmp_path, ACCEPTED + declared)
    profiles = Profiles(Hl7Settings(), tmp_path)
    assert profiles.equivalent_issuers() == (("A", "B"),)
    assert profiles.trusted_assumed_issuers() == ("N",)
    decide(tmp_path, (ACCEPTED + declared).replace("accept", "withdraw"))
    assert profiles.reload_if_changed()
    assert profiles.equivalent_issuers() == ()
    assert profiles.senders == ()


def test_a_peer_that_makes_up_senders_fills_no_memory() -> None:
    profiles = Profiles(Hl7Settings())
    for number in range(1100):
        profiles.digest(f"MADE UP|{number}")
    assert len(profiles._profiles) <= 1024
    assert len(profiles._digests) <= 1024
