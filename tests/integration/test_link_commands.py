"""People explain, confirm, withdraw and revert links, and review or take apart merged patients."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import SQLModel, select
from typer.testing import CliRunner, Result

from dicom_node.linking.models import LinkDecision, LinkEvent, PatientEvent
from dicom_node.messages import receive
from dicom_node.models import Link
from plugin.cli import app
from plugin.context import open_context
from plugin.linking import study_linker
from plugin.settings import Settings, load_settings
from plugin.settings_template import render
from tests.hl7_builders import add, merge, oru, study

UID = "1.2.3"
WHY = ("--reason", "looked at both")
RIGHT: dict[str, object] = {"accession_issuer_assumed": False}
ACCESSION = "A1^SITE"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "radloop.toml"
    text = render().replace("[hl7] ", "[hl7]\naccept_unknown_feeds = true\n#", 1)
    path.write_text(text)
    return path


@pytest.fixture
def settings(config: Path) -> Settings:
    found = load_settings(config)
    if not found.hl7.accept_unknown_feeds:
        pytest.fail("the settings of this test let unknown feeds in")
    return found


def _happens(settings: Settings, *steps: bytes | dict[str, object]) -> None:
    """File messages and studies, one after the other."""
    with open_context(settings) as context:
        for step in steps:
            if isinstance(step, bytes):
                linking = context.linking()
                receive(
                    context.database,
                    step,
                    profiles=context.profiles,
                    linking=linking,
                    clock=context.clock,
                )
                continue
            with context.database.write() as session:
                row = study(UID, **(RIGHT | step))
                add(session, row)
                study_linker(context)(session, row)


def _run(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--config", str(config)])


def _rows(settings: Settings, table: type[SQLModel]) -> list[Any]:
    with open_context(settings) as context, context.database.read() as session:
        return list(session.exec(select(table)))


def _answer(config: Path, *arguments: str, fails: bool = False) -> dict[str, Any]:
    result = _run(config, *arguments, "--json")
    assert (result.exit_code != 0) is fails, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def _state(config: Path) -> str:
    (link,) = _answer(config, "link", "explain", UID)["links"]
    return str(link["state"])


def _report(**changes: Any) -> bytes:
    return oru(**({"accession": ACCESSION} | changes))


def test_a_linked_report_is_explained_from_both_sides(config: Path, settings: Settings) -> None:
    _happens(settings, {}, _report())
    for name in ("1", "F1", "RIS|HOSPITAL|F1", UID):
        found = _answer(config, "link", "explain", name)
        assert found["why"]["linked"]
        assert "patient agree" in found["links"][0]["in_words"]
        assert [each["state"] for each in found["history"]] == ["confirmed"]
    assert _answer(config, "link", "list") == {"unlinked": []}
    assert _answer(config, "link", "list", "--state", "confirmed")["links"][0]["report"] == 1
    plain = _run(config, "link", "explain", UID)
    assert plain.exit_code == 0
    assert "Equal: patient identifier" in " ".join(plain.stdout.split())


@pytest.mark.parametrize(
    ("steps", "reason", "change"),
    [
        ([_report()], "no study with this accession number", "the images"),
        (
            [_report(accession="", filler="", study_uids=["9.9"])],
            "this Study Instance UID has arrived",
            "the images",
        ),
        ([{}, _report(accession="A1^OTHER")], "of another issuer", "equivalent_issuers"),
        ([{}, _report(accession="A1")], "does not name the issuer", "default_issuer_of_accession"),
        ([{}, _report(sex="M")], "contradiction in sex", "two people"),
        ([_report(accession="", filler="")], "names neither", "accession_number_fields"),
    ],
)
def test_an_unlinked_report_says_why_and_what_would_change_it(
    config: Path, settings: Settings, steps: list[Any], reason: str, change: str
) -> None:
    _happens(settings, *steps)
    found = _answer(config, "link", "explain", "1")["why"]
    assert not found["linked"]
    assert reason in found["reason"]
    assert change in found["what_would_change_it"]
    assert reason in _answer(config, "link", "list")["unlinked"][0]["reason"]


def test_one_person_confirms_a_proposal_and_a_correction_keeps_it(
    config: Path, settings: Settings
) -> None:
    _happens(settings, {"issuer_of_patient_id": ""}, _report())
    assert _state(config) == "proposed"
    found = _answer(config, "link", "confirm", "F1", UID, "--by", "alice", *WHY)
    assert (found["state"], found["decided_by"]) == ("confirmed", "alice")
    corrected = _report(control_id="2", status="C", changed="20260302", lines=["new"])
    _happens(settings, corrected)
    links = _answer(config, "link", "explain", UID)["links"]
    assert [each["state"] for each in links] == ["confirmed"]
    # What was confirmed was another patient's birth date: the rules hold again.
    other = _report(control_id="3", status="C", changed="20260303", birth_date="19700102")
    _happens(settings, other)
    assert _state(config) == "refused"


def test_a_contradiction_takes_two_different_people(config: Path, settings: Settings) -> None:
    _happens(settings, {}, _report(sex="M"))
    confirm = ("link", "confirm", "1", UID, *WHY)
    for _ in range(2):
        found = _answer(config, *confirm, "--by", "alice", fails=True)
        assert (found["state"], found["people_still_needed"]) == ("refused", 1)
    assert _answer(config, *confirm, "--by", "bob")["state"] == "confirmed"
    explained = _answer(config, "link", "explain", "1")
    assert [each["decided_by"] for each in explained["people"]] == ["alice", "alice", "bob"]
    assert _answer(config, "link", "revert", "1", UID, "--by", "bob", *WHY)["state"] == "refused"


def test_a_withdrawal_holds_until_it_is_reverted(config: Path, settings: Settings) -> None:
    _happens(settings, {}, _report())
    assert _answer(config, "link", "withdraw", "1", UID, *WHY)["state"] == "withdrawn"
    _happens(settings, _report(control_id="2", status="C", changed="20260302", lines=["new"]))
    (link,) = _answer(config, "link", "explain", UID)["links"]
    assert link["state"] == "withdrawn"
    assert _answer(config, "link", "revert", "F1", UID, *WHY)["state"] == "confirmed"
    assert len(_rows(settings, LinkDecision)) == 2
    assert len(_rows(settings, LinkEvent)) >= 4


def test_r5_a_report_of_another_patient_freezes_the_link_until_it_is_withdrawn(
    config: Path, settings: Settings
) -> None:
    _happens(settings, {}, _report(), _report(control_id="2", filler="F2", patient="P2^^^HOSP"))
    states = {each["report_id"]: each for each in _answer(config, "link", "explain", UID)["links"]}
    assert states[1]["state"] == "suspended"
    assert "different patients claim" in states[1]["in_words"]
    _answer(config, "link", "withdraw", "F2", UID, *WHY)
    assert _answer(config, "link", "explain", "F1")["why"]["linked"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("confirm", "1", UID, "--reason", " "), "a reason"),
        (("confirm", "77", UID, *WHY), "no such report"),
        (("confirm", "1", "9.9.9", *WHY), "no study"),
        (("confirm", "F2", UID, *WHY), "nothing in common"),
    ],
)
def test_what_cannot_be_decided_is_refused(
    config: Path, settings: Settings, arguments: tuple[str, ...], words: str
) -> None:
    _happens(settings, {}, _report(), _report(control_id="2", filler="F2", accession="A2^SITE"))
    result = _run(config, "link", *arguments)
    assert result.exit_code
    assert words in str(result.exception)
    assert not _rows(settings, LinkDecision)


def test_people_do_not_stand_in_for_an_accepted_feed(config: Path, settings: Settings) -> None:
    config.write_text(config.read_text().replace("accept_unknown_feeds = true", ""))
    settings = load_settings(config)
    _happens(settings, {}, _report())
    assert _state(config) == "proposed"
    result = _run(config, "link", "confirm", "1", UID, *WHY)
    assert "radloop feed accept" in str(result.exception)


def test_a_merge_is_shown_and_taken_back(config: Path, settings: Settings) -> None:
    _happens(settings, {"patient_id": "P9"}, _report(), merge("P9^^^HOSP", "P1^^^HOSP"))
    assert _state(config) == "confirmed"
    shown = _answer(config, "patient", "show", "P9", "--issuer", "HOSP")
    assert shown["patient"]["surviving"] == "P1 of HOSP"
    assert shown["patient"]["known_as"] == ["P1 of HOSP", "P9 of HOSP"]
    taken = _answer(config, "patient", "unmerge", "P1", "P9", "--issuer", "HOSP", *WHY)
    assert taken["links_changed"] == [{"report": 1, "study_instance_uid": UID}]
    assert _state(config) == "refused"
    shown = _answer(config, "patient", "show", "P9", "--issuer", "HOSP")
    assert [each["action"] for each in shown["events"]] == ["merge", "unlink"]
    again = _run(config, "patient", "unmerge", "P1", "P9", "--issuer", "HOSP", *WHY)
    assert "not merged" in str(again.exception)
    assert len(_rows(settings, PatientEvent)) == 2


def test_a_reversed_merge_waits_for_a_review(config: Path, settings: Settings) -> None:
    one, other = "P9^^^HOSP", "P1^^^HOSP"
    _happens(settings, {}, _report(), merge(one, other), merge(other, one, control_id="M2"))
    assert _state(config) == "suspended"
    shown = _answer(config, "patient", "show", "P1", "--issuer", "HOSP")
    assert "reversed" in shown["patient"]["under_review"]
    review = ("patient", "review", "P1", "--issuer", "HOSP", *WHY)
    assert _answer(config, *review)["links_changed"]
    assert _state(config) == "confirmed"
    assert "nothing about this patient" in str(_run(config, *review).exception)


def test_a_patient_without_an_issuer_is_nobody(config: Path, settings: Settings) -> None:
    _happens(settings, {})
    result = _run(config, "patient", "show", "P1", "--issuer", "")
    assert "patient id and issuer" in str(result.exception)


def test_no_row_of_a_link_is_lost(settings: Settings, config: Path) -> None:
    _happens(settings, {}, _report())
    _answer(config, "link", "withdraw", "1", UID, *WHY)
    _answer(config, "link", "revert", "1", UID, *WHY)
    assert len(_rows(settings, Link)) == 1
    states = [each.state for each in _rows(settings, LinkEvent)]
    assert states == ["confirmed", "withdrawn", "confirmed"]


def test_gaps_are_listed_until_the_study_is_there(config: Path, settings: Settings) -> None:
    _happens(settings, _report())
    (gap,) = _answer(config, "gaps")["reports"]
    assert (gap["accession"], gap["why"]) == ("A1", "no study with this accession number or UID")
    assert "report without study" in _run(config, "gaps").output
    _happens(settings, {})
    assert _answer(config, "gaps") == {"counts": [], "studies": [], "reports": []}
