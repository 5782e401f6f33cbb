"""Priors and trials: what each rule wants, and archives that do not answer at every level."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dicom_node.retrieval.answers import StudyFound
from dicom_node.retrieval.finding import TooMany
from dicom_node.retrieval.looking import TooLarge, content_of
from dicom_node.retrieval.models import State
from plugin.operations import run_operation
from plugin.simulation import retrieval as pacs_double
from plugin.stages.complete import complete_study
from plugin.stages.priors import want_priors
from tests.builders import mr_image, uid
from tests.cohort_builders import add_said
from tests.retrieval_room import Room, retrieval_room, start, studies
from training.settings import PredictionRule

RULE = '[retrieval]\npriors_from = "pacs"\n[[prediction]]\nmodel = "said"\npriors = 1\n'
IDENTITY = {"patient": "P1", "IssuerOfPatientID": "HOSP"}


@pytest.fixture
def arrived(tmp_path: Path) -> Iterator[Room]:
    """A room with a model at work and a study that arrived for it; three earlier ones are held."""
    with retrieval_room(tmp_path, "get", extra=RULE) as room:
        room.hold(
            *(mr_image(study=f"of {year}", StudyDate=f"{year}0101", **IDENTITY)
              for year in (2018, 2019, 2020))
        )  # fmt: skip
        room.pass_time(-86400.0)
        room.take(mr_image(study="x"))
        with room.context.database.write() as session:
            add_said(session, uid("study", "x"), "1.2.3.4")
        room.pass_time(86400.0)
        room.take(mr_image(study="now", **IDENTITY))
        complete_study(room.context, uid("study", "now"), by="test", reason="a test")
        yield room


def want(room: Room, *rules: PredictionRule) -> int:
    object.__setattr__(room.context.settings, "prediction", list(rules))
    return want_priors(room.context)


def test_each_rule_has_the_priors_that_it_wants(arrived: Room, monkeypatch: Any) -> None:
    monkeypatch.setattr("plugin.stages.priors.models_at_work", _both)
    rules = PredictionRule(model="said", priors=1), PredictionRule(model="other", priors=2)
    assert want(arrived, *rules) == 2
    assert want(arrived, *rules) == 0
    arrived.work(6)
    assert arrived.solicited() == {uid("study", "of 2020"), uid("study", "of 2019")}


def _both(session: Any, _name: str) -> Any:
    from training.registry import models_at_work

    return models_at_work(session, "said")


def test_a_rule_that_wants_more_has_its_studies_searched_again(arrived: Room) -> None:
    assert want(arrived, PredictionRule(model="said", priors=1)) == 1
    arrived.work(4)
    assert arrived.solicited() == {uid("study", "of 2020")}
    assert want(arrived, PredictionRule(model="said", priors=3)) == 1
    assert want(arrived, PredictionRule(model="said", priors=3)) == 0
    arrived.work(6)
    assert len(arrived.solicited()) == 3


def test_a_study_whose_patient_cannot_be_asked_about_has_no_priors(arrived: Room) -> None:
    arrived.take(mr_image(study="odd", patient="P*1", IssuerOfPatientID="HOSP"))
    complete_study(arrived.context, uid("study", "odd"), by="test", reason="a test")
    assert want(arrived, PredictionRule(model="said", priors=1)) == 2
    arrived.work(2)
    (row,) = [row for row in arrived.rows() if row.study_instance_uid == uid("study", "odd")]
    assert row.state == State.SEARCHED
    assert row.detail.startswith("no priors can be looked for")
    assert "P*1" not in row.detail


@pytest.fixture
def study_level(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    """A room whose archive answers at study level alone."""
    real = pacs_double.Retrieval._on_find

    def on_find(self: Any, event: Any) -> Iterator[Any]:
        if event.identifier.QueryRetrieveLevel == "STUDY":
            yield from real(self, event)
        else:
            yield 0xA900, None

    monkeypatch.setattr(pacs_double.Retrieval, "_on_find", on_find)
    with retrieval_room(tmp_path, "get") as room:
        room.hold(*studies(["1"]))
        yield room


def try_it(room: Room, priors: int) -> dict[str, Any]:
    arguments = {"path": room.file([["A-1"]]), "peer": "pacs", "priors": priors}
    return run_operation(room.context, "backfill try", arguments, lambda _line: None)


@pytest.mark.parametrize("priors", [0, 2])
def test_an_archive_of_studies_alone_is_fetched_from(study_level: Room, priors: int) -> None:
    tried = try_it(study_level, priors)
    assert tried["would"] == {"fetch": 1}
    assert ("no priors can be looked for" in str(tried["studies"])) is (priors > 0)
    start(study_level, ["A-1"], priors=priors)
    study_level.work(3)
    assert study_level.states() == [State.FETCHED]
    assert try_it(study_level, priors)["would"] == {"here already": 1}


def test_a_patient_who_cannot_be_asked_about_costs_the_priors_alone(tmp_path: Path) -> None:
    with retrieval_room(tmp_path, "get") as room:
        room.hold(mr_image(study="1", patient="P*1", AccessionNumber="A-1"))
        assert try_it(room, 2)["would"] == {"fetch": 1}
        start(room, ["A-1"], priors=2)
        room.work(3)
        assert room.states() == [State.FETCHED]


def test_answers_without_number_are_too_large_and_not_another_kind_of_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Endless:
        def content(self, _study: StudyFound, _most: int) -> list[Any]:
            raise TooMany("the archive answers more than 20000 times")

    with pytest.raises(TooLarge, match="more than 20000"):
        content_of(Endless(), StudyFound("1.2"), 10)  # type: ignore[arg-type]
    with retrieval_room(tmp_path, "get") as room:
        room.hold(*studies(["1"]))
        monkeypatch.setattr("dicom_node.retrieval.finding.Finder.content", Endless.content)
        assert try_it(room, 0)["would"] == {"too large": 1}
        start(room, ["A-1"])
        room.work(2)
        assert room.states() == [State.TOO_LARGE]
