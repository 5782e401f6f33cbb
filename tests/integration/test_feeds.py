"""A feed from its sample to its links: learned, tried, accepted and withdrawn on a node's data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlmodel import col, select
from typer.testing import CliRunner

from dicom_node.feeds.acceptance import outdated_senders
from dicom_node.linking.models import PatientEvent
from dicom_node.messages import receive
from dicom_node.models import Link, Message, Report, Series, Study
from plugin.cli import app
from plugin.context import Context, open_context
from plugin.errors import Permanent
from plugin.operations import run_operation
from plugin.questions import ask
from plugin.settings import Settings, load_settings
from plugin.settings_template import render
from plugin.stages.feeds import learn_feed, parse_profile, read_outdated, try_feed

SENDER = "RIS|NORTH"
NUMBERS = range(40)
CLI = CliRunner()


def report(n: int) -> bytes:
    return (
        f"MSH|^~\\&|{SENDER}|||20260301120000||ORU^R01|M{n}|P|2.4\r"
        f"PID|1||P{n}^^^NORTH^MR||DOE^J\u00e4NE||19500101|F\r"
        f"OBR|1|O{n}^SYS|A{n:05}^RIS|CT^CT HEAD|||20260301110000|||||||||||CHEST||||"
        f"20260301115900||IMG|Final\r"
        f"OBX|1|TX|1||Nothing is wrong.||||||Final\r"
    ).encode()


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    folder = tmp_path / "sample"
    folder.mkdir()
    for n in NUMBERS:
        (folder / f"{n:02}.hl7").write_bytes(report(n))
    (folder / "broken.hl7").write_bytes(b"not a message")
    (folder / "other.hl7").write_bytes(report(1).replace(b"|RIS|", b"|LAB|"))
    return folder


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "radloop.toml"
    path.write_text(render(), encoding="utf-8")
    return path


@pytest.fixture
def settings(config: Path) -> Settings:
    return load_settings(config)


@pytest.fixture
def context(settings: Settings) -> Iterator[Context]:
    with open_context(settings) as context:
        yield context


def add_study(context: Context, n: int, patient: str = "") -> None:
    with context.database.write() as session:
        session.add(
            Study(
                study_instance_uid=f"1.2.{n + 1}",
                patient_id=patient or f"P{n}",
                issuer_of_patient_id="NORTH",
                patient_name="DOE^J\u00c4NE",
                patient_birth_date="19500101",
                patient_sex="F",
                accession_number=f"A{n:05}",
                issuer_of_accession_number="RIS",
                study_date="20260301",
                first_received_at=context.clock(),
                last_received_at=context.clock(),
            )
        )
        session.flush()
        session.add(
            Series(
                series_instance_uid=f"1.2.{n + 1}.1",
                study_instance_uid=f"1.2.{n + 1}",
                modality="CT",
            )
        )


def send(context: Context, *numbers: int) -> None:
    receive(
        context.database,
        *map(report, numbers),
        profiles=context.profiles,
        linking=context.linking(),
        clock=context.clock,
    )


def states(context: Context) -> list[str]:
    with context.database.read() as session:
        query = select(Link.state).join(Report, col(Report.id) == col(Link.report_id))
        return sorted(session.exec(query.where(col(Report.is_current))))


def accept(context: Context, text: str) -> dict[str, object]:
    arguments = {"profile": text, "by": "ana", "reason": "tried it", "undecided": True}
    return run_operation(context, "feed accept", arguments, lambda _: None)


def withdraw(context: Context) -> dict[str, object]:
    arguments = {"sender": SENDER, "by": "ben", "reason": "wrong issuer"}
    return run_operation(context, "feed withdraw", arguments, lambda _: None)


def test_several_senders_in_a_folder_must_be_told_apart(sample: Path) -> None:
    with pytest.raises(Permanent, match="several senders"):
        learn_feed(sample)
    text, found = learn_feed(sample, SENDER)
    assert parse_profile(text).sender == SENDER
    assert list(found.unreadable) == ["broken.hl7"]


def test_a_trial_tells_what_would_be_read_and_writes_nothing(
    context: Context, settings: Settings, sample: Path
) -> None:
    add_study(context, 1)
    add_study(context, 2, patient="SOMEBODY ELSE")
    profile = parse_profile(learn_feed(sample, SENDER)[0])
    found = try_feed(profile, sample, settings, lambda _: None)
    assert (found["messages"], found["accepted"], found["refused"]) == (40, 40, 0)
    assert found["messages_of_other_senders"] == 1
    assert found["files_without_a_message"] == 1
    filled = {row["value"]: row["reports"] for row in found["filled"]}
    assert filled["text"] == filled["accession number with issuer"] == filled["can link"] == 40
    assert filled["modality"] == 0
    assert {"map": "modalities", "value": "IMG", "messages": 40} in found["unmapped"]
    links = found["projected_links"]
    assert (links["studies"], links["confirmed"], links["refused"]) == (2, 1, 1)
    assert links["reports_without_a_study"] == 38
    with context.database.read() as session:
        assert session.exec(select(Message)).all() == []


def test_a_trial_counts_the_merges_that_the_node_knows(
    context: Context, settings: Settings, sample: Path
) -> None:
    add_study(context, 3, patient="SURVIVOR")
    with context.database.write() as session:
        session.add(
            PatientEvent(
                action="merge",
                event_time="20260302",
                prior_patient_id="P3",
                prior_issuer="NORTH",
                patient_id="SURVIVOR",
                issuer="NORTH",
                recorded_at=context.clock(),
            )
        )
    profile = parse_profile(learn_feed(sample, SENDER)[0])
    found = try_feed(profile, sample, settings, lambda _: None)
    assert found["projected_links"]["confirmed"] == 1


def test_without_the_words_of_the_feed_everything_would_be_refused(sample: Path) -> None:
    profile = parse_profile(f'sender = "{SENDER}"\ncharset = "utf-8"\n')
    found = try_feed(profile, sample, None, lambda _: None)
    assert found["refused"] == 40
    (reason,) = found["not_taken"]
    assert reason["reason"].startswith("OBR-25")
    assert reason["first"] == "00.hl7"
    assert {"map": "result_statuses", "value": "Final", "messages": 40} in found["unmapped"]


def test_nothing_links_before_acceptance_and_nothing_after_withdrawal(
    context: Context, sample: Path
) -> None:
    for n in (1, 2):
        add_study(context, n)
    send(context, 1, 2)
    assert "confirmed" not in states(context)
    text, _ = learn_feed(sample, SENDER)
    done = accept(context, text)
    assert (done["may_link"], done["read_again"]) == (True, 2)
    assert states(context) == ["confirmed", "confirmed"]
    taken_back = withdraw(context)
    assert taken_back["may_link"] is False
    assert "confirmed" not in states(context)
    accept(context, text)
    assert states(context) == ["confirmed", "confirmed"]


def test_a_sender_that_follows_the_standard_needs_acceptance_all_the_same(
    context: Context,
) -> None:
    add_study(context, 1)
    plain = report(1).replace(b"Final", b"F").replace("J\u00e4NE".encode(), b"JANE")
    receive(
        context.database,
        plain.replace(b"CHEST", b"A00001^RIS"),
        profiles=context.profiles,
        linking=context.linking(),
        clock=context.clock,
    )
    with context.database.read() as session:
        assert session.exec(select(Report.result_status)).all() == ["F"]
    assert "confirmed" not in states(context)
    accept(context, f'sender = "{SENDER}"\n')
    assert states(context) == ["confirmed"]


def test_a_crash_before_messages_were_read_again_is_made_good(
    context: Context, settings: Settings, sample: Path
) -> None:
    from dicom_node.feeds.acceptance import accept as accept_only

    add_study(context, 1)
    send(context, 1)
    profile = parse_profile(learn_feed(sample, SENDER)[0])
    accept_only(
        context.database,
        context.folder.feeds,
        context.clock,
        profile,
        by="ana",
        reason="the node is killed after this",
    )
    assert "confirmed" not in states(context)
    assert read_outdated(context, lambda _: None)["senders"] == 1
    assert states(context) == ["confirmed"]
    with context.database.read() as session:
        assert outdated_senders(session, context.profiles) == []
    assert read_outdated(context, lambda _: None)["senders"] == 0


def test_names_of_issuers_that_one_feed_declares_equal_reach_the_others(
    context: Context, sample: Path
) -> None:
    add_study(context, 1)
    text, _ = learn_feed(sample, SENDER)
    accept(context, text)
    send(context, 1)
    other = 'sender = "LAB|NORTH"\nequivalent_issuers = [["NORTH", "NORD"]]\n'
    done = accept(context, other)
    assert done["read_again"] == 1


def test_lists_and_shows(context: Context, settings: Settings, sample: Path) -> None:
    send(context, 1)
    accept(context, learn_feed(sample, SENDER)[0])
    withdraw(context)
    (feed,) = ask(settings, "feeds", {})["feeds"]
    assert (feed["sender"], feed["may_link"], feed["messages"]) == (SENDER, False, 1)
    shown = ask(settings, "feed", {"sender": SENDER})
    assert [each["action"] for each in shown["decisions"]] == ["accept", "withdraw"]
    with pytest.raises(Permanent, match="nothing was received"):
        ask(settings, "feed", {"sender": "NOBODY|NOWHERE"})


def test_what_the_settings_list_cannot_be_decided_by_command(
    config: Path, settings: Settings
) -> None:
    text = config.read_text() + f'\n[[hl7.feeds]]\nsender = "{SENDER}"\n'
    config.write_text(text)
    with open_context(load_settings(config)) as context:
        from dicom_node.feeds.acceptance import FeedRefused

        with pytest.raises(FeedRefused, match="settings"):
            withdraw(context)


def test_the_commands(config: Path, sample: Path, tmp_path: Path) -> None:
    profile = tmp_path / "profile.toml"
    learned = CLI.invoke(
        app, ["feed", "learn", str(sample), "--sender", SENDER, "--output", str(profile)]
    )
    assert learned.exit_code == 0, learned.output
    tried = CLI.invoke(app, ["feed", "dry-run", str(profile), str(sample), "--json"])
    assert json.loads(tried.stdout)["accepted"] == 40
    common = ["--config", str(config), "--json"]
    refused = CLI.invoke(app, ["feed", "accept", str(profile), "--reason", "tried", *common])
    assert refused.exit_code != 0
    words = ["--reason", "tried", "--undecided"]
    done = CLI.invoke(app, ["feed", "accept", str(profile), *words, *common])
    assert json.loads(done.stdout)["may_link"] is True
    listed = CLI.invoke(app, ["feed", "list", *common])
    assert json.loads(listed.stdout)["feeds"][0]["profile"] == "accepted"
    gone = CLI.invoke(app, ["feed", "withdraw", SENDER, "--reason", "no", *common])
    assert json.loads(gone.stdout)["may_link"] is False
