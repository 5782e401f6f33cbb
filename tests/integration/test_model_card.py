"""The card of a model that learned from canaries: nothing in it, or in its pictures, sings."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlmodel import col, select

from dicom_node.models import Series
from plugin.context import Context, open_context
from plugin.questions import ask
from plugin.settings import load_settings
from plugin.settings_template import render
from plugin.stages.erase import erase_patient
from plugin.stages.impact import note_impacts
from tests.canaries import ISSUER, SETTINGS, Person, fill, occurrences
from training.cards.checklist import UNKNOWN
from training.errors import Permanent
from training.models import CohortMember, TrainingRun
from training.registry import promote, retire

ONE, TWO = Person("KANARI", "7391"), Person("SPERLING", "6482")


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    path = tmp_path / "site" / "radloop.toml"
    path.parent.mkdir()
    text = render().replace('default_charset = "ascii"', 'default_charset = "utf-8"')
    text = text.replace(
        'default_issuer_of_accession_number = ""', 'default_issuer_of_accession_number = "RIS"'
    )
    path.write_text(text + SETTINGS, encoding="utf-8")
    with open_context(load_settings(path)) as context:
        fill(context, [ONE, TWO])
        yield context


def say_too_much(context: Context) -> None:
    """Have persons and peers write what identifies patients where a card may show it."""
    born = f"{ONE.birth_date[:4]}-{ONE.birth_date[4:6]}-{ONE.birth_date[6:]}"
    reason = f"{ONE.mark}NAME asked, {TWO.patient_id} too, born {born}, study {ONE.study}"
    with context.database.write() as session:
        retire(session, "spine", decided_by="test", reason=reason, clock=context.clock)
        promote(session, "spine", decided_by="test", reason="again", clock=context.clock)
        for row in session.exec(select(Series).where(col(Series.modality) == "MR")):
            row.manufacturer_model_name = f"scanner of {TWO.mark}ACC"
            session.add(row)
        run = session.exec(select(TrainingRun)).one()
        run.metrics = {
            **run.metrics,
            "not_used": [
                {
                    "study": ONE.study,
                    "fold": "train",
                    "reason": f"as in {TWO.study}: {ONE.accession}",
                }
            ],
        }
        session.add(run)


def test_nothing_in_a_card_identifies_a_patient(context: Context, tmp_path: Path) -> None:
    say_too_much(context)
    to = tmp_path / "card"
    told = ask(context.settings, "model card", {"model": "spine:1", "folder": str(to)})
    for person in (ONE, TWO):
        assert not occurrences(to, person.words())
        assert not any(word in json.dumps(told) for word in person.words())
    with context.database.read() as session:
        keys = session.exec(select(CohortMember.patient_key)).all()
    text = (to / "card.json").read_text(encoding="utf-8")
    assert keys
    assert not any(key in text for key in keys)
    card = json.loads(text)
    assert card["texts_with_removals"] == 3
    assert [each["stage"] for each in card["stages"]["events"]][-2:] == ["retired", "live"]
    # The model of this node holds no figures and no file: its card says so and claims nothing.
    assert card["results"]["observations"] == []
    assert card["model"]["weights_file"]["present"] is False
    states = {
        each["name"]: {item["number"]: item["state"] for item in each["items"]}
        for each in card["checklists"]
    }
    assert states["TRIPOD+AI (2024)"]["23a"] == states["CLAIM (2024 update)"]["37"] == UNKNOWN
    assert {each.name for each in to.iterdir()} == {"card.md", "card.json"}
    with pytest.raises(Permanent, match="no model stranger"):
        ask(context.settings, "model card", {"model": "stranger", "folder": str(tmp_path / "x")})
    assert not (tmp_path / "x").exists()
    # Written again into its own folder, it says the same of the same model.
    assert ask(context.settings, "model card", {"model": "spine", "folder": str(to)}) == told
    again = json.loads((to / "card.json").read_bytes())
    assert {**again, "generated_at": ""} == {**card, "generated_at": ""}


def test_a_card_counts_who_was_erased(context: Context, tmp_path: Path) -> None:
    asked = {"model": "spine", "folder": str(tmp_path / "card")}
    ask(context.settings, "model card", asked)
    erase_patient(
        context, issuer=ISSUER, patient_id=ONE.patient_id, by="officer", reason="asked",
        dry_run=False,
    )  # fmt: skip
    ask(context.settings, "model card", asked)
    card = json.loads((tmp_path / "card" / "card.json").read_bytes())
    assert card["since_training"]["erased_members"] == 1
    note_impacts(context)
    ask(context.settings, "model card", asked)
    since = json.loads((tmp_path / "card" / "card.json").read_bytes())["since_training"]
    assert since["erased_members"] == 1
    assert since["open_impact_notes"] == [{"cause": "erasure", "members": 1}]
    assert any("were erased since" in each["limit"] for each in card["limits"])
    assert not occurrences(tmp_path / "card", ONE.words())
