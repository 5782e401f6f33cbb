"""Accepting and withdrawing profiles: rows that stay, files that follow them."""

from __future__ import annotations

import datetime as dt
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlmodel import SQLModel

from dicom_node.database import Database
from dicom_node.feeds.acceptance import FeedRefused, accept, decisions, follow_rows, withdraw
from dicom_node.feeds.models import FeedAcceptance
from dicom_node.feeds.profile import FeedProfile
from dicom_node.feeds.registry import Profiles, digest_of, file_name, read_profile
from dicom_node.feeds.writing import write_profile
from dicom_node.settings import Hl7Settings

RIS = "RIS|NORTH"
NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'node.sqlite'}")
    SQLModel.metadata.create_all(database.engine)
    yield database
    database.close()


def clock() -> dt.datetime:
    return NOW


def test_an_accepted_profile_is_read_without_a_database(database: Database, tmp_path: Path) -> None:
    profile = FeedProfile(sender=RIS, charset="utf-8", result_statuses={"Wet Read": "P"})
    done = accept(database, tmp_path / "feeds", clock, profile, by="ana", reason="tried")
    assert done.changed
    profiles = Profiles(Hl7Settings(), tmp_path / "feeds")
    assert profiles.accepted(RIS)
    assert profiles.of(RIS).result_statuses == {"Wet Read": "P"}
    again = accept(database, tmp_path / "feeds", clock, profile, by="ben", reason="again")
    assert not again.changed
    with database.read() as session:
        assert [(row.action, row.decided_by) for row in decisions(session)] == [
            ("accept", "ana"),
            ("accept", "ben"),
        ]


def test_a_withdrawn_profile_can_be_accepted_again(database: Database, tmp_path: Path) -> None:
    profile = FeedProfile(sender=RIS, charset="utf-8")
    profiles = Profiles(Hl7Settings(), tmp_path)
    accept(database, tmp_path, clock, profile, by="ana", reason="tried")
    assert withdraw(database, tmp_path, clock, RIS, by="ana", reason="wrong issuer").changed
    profiles.reload_if_changed()
    assert not profiles.accepted(RIS)
    assert profiles.of(RIS).charset == "ascii"
    assert accept(database, tmp_path, clock, profile, by="ana", reason="right").changed
    profiles.reload_if_changed()
    assert profiles.accepted(RIS)


def test_a_sender_that_nobody_accepted_can_be_kept_out(database: Database, tmp_path: Path) -> None:
    withdraw(database, tmp_path, clock, RIS, by="ana", reason="not ours")
    assert not Profiles(Hl7Settings(accept_unknown_feeds=True), tmp_path).accepted(RIS)


@pytest.mark.parametrize(("by", "reason"), [("", "why"), ("ana", " ")])
def test_a_decision_needs_who_and_why(
    database: Database, tmp_path: Path, by: str, reason: str
) -> None:
    with pytest.raises(FeedRefused):
        accept(database, tmp_path, clock, FeedProfile(sender=RIS), by=by, reason=reason)
    with database.read() as session:
        assert decisions(session) == []


def test_what_the_settings_list_is_decided_there(database: Database, tmp_path: Path) -> None:
    with pytest.raises(FeedRefused, match="settings"):
        withdraw(database, tmp_path, clock, RIS, by="ana", reason="why", listed=[RIS])


def test_files_follow_the_rows_after_a_crash(database: Database, tmp_path: Path) -> None:
    accept(database, tmp_path, clock, FeedProfile(sender=RIS), by="ana", reason="tried")
    accept(database, tmp_path, clock, FeedProfile(sender="B|C"), by="ana", reason="tried")
    (tmp_path / file_name(RIS)).unlink()
    (tmp_path / file_name("B|C")).write_text("torn")
    with database.read() as session:
        assert set(follow_rows(session, tmp_path)) == {file_name(RIS), file_name("B|C")}
        assert follow_rows(session, tmp_path) == []
    assert Profiles(Hl7Settings(), tmp_path).senders == ("B|C", RIS)


def test_a_withdrawal_that_crashed_before_its_file_holds_after_the_start(
    database: Database, tmp_path: Path
) -> None:
    accept(database, tmp_path, clock, FeedProfile(sender=RIS), by="ana", reason="tried")
    text = (tmp_path / file_name(RIS)).read_bytes()
    withdraw(database, tmp_path, clock, RIS, by="ana", reason="wrong")
    (tmp_path / file_name(RIS)).write_bytes(text)
    with database.read() as session:
        follow_rows(session, tmp_path)
    assert not Profiles(Hl7Settings(), tmp_path).accepted(RIS)


def test_a_profile_of_another_version_accepts_nobody(database: Database, tmp_path: Path) -> None:
    with database.write() as session:
        session.add(
            FeedAcceptance(
                sender=RIS,
                action="accept",
                profile='sender = "RIS|NORTH"\nof_the_future = 1\n',
                profile_digest="",
                decided_by="ana",
                reason="why",
                decided_at=NOW,
            )
        )
    with database.read() as session:
        follow_rows(session, tmp_path)
        assert follow_rows(session, tmp_path) == []
    profiles = Profiles(Hl7Settings(accept_unknown_feeds=True), tmp_path)
    assert not profiles.accepted(RIS)
    assert profiles.problems
    assert withdraw(database, tmp_path, clock, RIS, by="ana", reason="old").changed


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@settings(max_examples=60, deadline=None)
@given(
    sender=st.tuples(TEXTS, TEXTS).map(lambda two: "|".join(each.replace("|", "") for each in two)),
    issuer=TEXTS,
    words=st.dictionaries(TEXTS, st.sampled_from("FMO"), max_size=3),
    types=st.lists(TEXTS, max_size=3),
    groups=st.lists(st.lists(TEXTS, max_size=2), max_size=2),
    history=st.booleans(),
)
def test_a_profile_survives_being_written(
    sender: str,
    issuer: str,
    words: dict[str, str],
    types: list[str],
    groups: list[list[str]],
    history: bool,
) -> None:
    profile = FeedProfile(
        sender=sender,
        issuer_of_patient_id=issuer,
        result_statuses=words,
        sexes=words,
        patient_id_types=tuple(types),
        equivalent_issuers=tuple(map(tuple, groups)),
        history=history,
    )
    read = read_profile(write_profile(profile))
    assert read == profile
    assert digest_of(read) == digest_of(profile)
    inside = tomllib.loads('a = "b"\n' + write_profile(profile, "profile"))["profile"]
    assert FeedProfile.model_validate(inside) == profile
