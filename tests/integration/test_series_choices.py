"""A rule for series decides which images of a study a cohort and a model take."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from dicom_node.storage import DicomStore
from dicom_node.studies import instances_of
from plugin.cohort_request import request_of
from plugin.context import Context
from plugin.errors import Permanent
from plugin.stages import series_choices
from plugin.stages.cohort import SHORTCOMINGS, freeze_cohort
from plugin.stages.erase import erase_patient
from plugin.stages.series_choices import ChoicesOfSweeps, choose_series
from tests.builders import mr_image, received
from tests.canaries import index
from tests.cohort_builders import node_with_a_run
from tests.integration.test_cohort_commands import picture, send
from training.images.rule_file import load_rule
from training.selection import images
from training.series import analysed_digests, series_rule
from training.series_choices import SeriesChoice, choices, without_choice
from training.settings import PredictionRule

RULE = """\
name: mine
title: Three sagittal slices
modality: MR
geometry: sagittal
slices: {minimum: 3, maximum: 3}
"""
AXIAL = [1, 0, 0, 0, 1, 0]
SPACING = [0.8, 0.8]


@pytest.fixture
def rule(tmp_path: Path) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(RULE, encoding="utf-8")
    return str(path)


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    with node_with_a_run(tmp_path) as context:
        yield context


def silent(_: str) -> None:
    pass


def add_slice(context: Context, number: int) -> None:
    """Add a fourth slice to a study."""
    store = DicomStore(context.folder.root)
    values = {
        "IssuerOfPatientID": "SITE",
        "ImageOrientationPatient": [0, 1, 0, 0, 0, -1],
        "ImagePositionPatient": [40.0, 0, 0],
        "PixelSpacing": SPACING,
        "PixelData": picture(77).tobytes(),
    }
    image = mr_image(f"P{number}", f"S{number}", instance=9, rows=picture(1).shape[0], **values)
    store.store(received(image))
    index(context, store)


def test_a_cohort_takes_what_the_rule_takes_and_says_why_it_takes_nothing(
    context: Context, rule: str
) -> None:
    good = [send(context, number, picture(number), PixelSpacing=SPACING) for number in (1, 2)]
    axial = send(context, 3, picture(3), PixelSpacing=SPACING, ImageOrientationPatient=AXIAL)
    frozen = freeze_cohort(
        context, "spine", "rules", SHORTCOMINGS, request_of({"series_rule": rule})
    )
    [(reason, count)] = frozen["exclusions"].items()
    assert (frozen["members"], count) == (2, 1)
    assert reason.startswith("no image series that fits: ")
    assert len(reason) > len("no image series that fits: ")
    record = json.loads((context.folder.root / frozen["manifest"]).read_text())
    named = load_rule(rule)
    assert record["query"]["series_rule"] == {"name": "mine", "digest": named.digest}
    assert {each["study_instance_uid"] for each in record["members"]} == set(good)
    assert all(len(each["images"]) == 3 for each in record["members"])
    assert [each["study_instance_uid"] for each in record["exclusions"]] == [axial]


def test_a_study_that_the_rule_could_not_read_is_left_out_for_that(
    context: Context, rule: str
) -> None:
    uid = send(context, 1, picture(1), PixelSpacing=SPACING)
    send(context, 2, picture(2), PixelSpacing=SPACING)
    with context.database.read() as session:
        [gone, *_] = [each.digest for each in instances_of(session, uid)]
    DicomStore(context.folder.root).path(gone).unlink()
    frozen = freeze_cohort(
        context, "spine", "rules", SHORTCOMINGS, request_of({"series_rule": rule})
    )
    assert frozen["members"] == 1
    [reason] = frozen["exclusions"]
    assert reason.endswith("a file cannot be read")


def test_a_choice_holds_until_the_study_has_other_images(context: Context, rule: str) -> None:
    uid = send(context, 1, picture(1), PixelSpacing=SPACING)
    named, asked = load_rule(rule), PredictionRule(model="m", series_rule=rule)
    assert choose_series(context, named, [uid], silent) == 1
    assert choose_series(context, named, [uid], silent) == 0
    with context.database.read() as session:
        assert images(session, series_rule(asked)).keys() == {uid}
        before = analysed_digests(session, uid, series_rule(asked))
        assert len(before) == 3
    add_slice(context, 1)
    with context.database.read() as session:
        assert without_choice(session, named.digest, [uid]) == [uid]
        assert analysed_digests(session, uid, series_rule(asked)) == []
    assert choose_series(context, named, [uid], silent) == 1
    with context.database.read() as session:
        assert choices(session, named.digest)[uid].series_instance_uid == ""
        assert "4 is above 3" in choices(session, named.digest)[uid].why
        assert len(session.exec(select(SeriesChoice)).all()) == 1


def test_an_erasure_forgets_what_a_rule_took(context: Context, rule: str) -> None:
    uid, other = (
        send(context, 1, picture(1), PixelSpacing=SPACING),
        send(context, 2, picture(2), PixelSpacing=SPACING),
    )
    choose_series(context, load_rule(rule), [uid, other], silent)
    erase_patient(
        context, issuer="SITE", patient_id="P1", by="officer", reason="asked", dry_run=False
    )
    with context.database.read() as session:
        assert [each.study_instance_uid for each in session.exec(select(SeriesChoice))] == [other]


def test_sweeps_look_once_at_what_became_complete_and_pass_over_what_cannot_be_read(
    context: Context, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(series_choices, "models_at_work", lambda *_: [object()])
    uid = send(context, 1, picture(1), PixelSpacing=SPACING)
    other = send(context, 2, picture(2), PixelSpacing=SPACING)
    with context.database.read() as session:
        [gone, *_] = [each.digest for each in instances_of(session, other)]
    DicomStore(context.folder.root).path(gone).unlink()
    prediction = (PredictionRule(model="m", series_rule=rule),)
    settings = context.settings.model_copy(update={"prediction": prediction})
    sweeps = ChoicesOfSweeps(replace(context, settings=settings))
    sweeps.look({uid: ["state"], other: ["state"]})
    with context.database.read() as session:
        assert choices(session, load_rule(rule).digest).keys() == {uid}

    asked: list[set[str]] = []
    monkeypatch.setattr(series_choices, "choose_series", lambda *a: asked.append(set(a[2])) or 0)
    sweeps.look({uid: ["state"], other: ["state"]})
    assert asked == []
    sweeps.look({uid: ["state", "grown"], other: ["state"]})
    assert asked == [{uid}]


def test_what_is_erased_while_a_rule_looks_leaves_nothing(
    context: Context, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = send(context, 1, picture(1), PixelSpacing=SPACING)
    look = series_choices.choose_in_study

    def and_erase(*given: Any) -> Any:
        found = look(*given)
        erase_patient(
            context, issuer="SITE", patient_id="P1", by="officer", reason="asked", dry_run=False
        )
        return found

    monkeypatch.setattr(series_choices, "choose_in_study", and_erase)
    choose_series(context, load_rule(rule), [uid], silent)
    with context.database.read() as session:
        assert session.exec(select(SeriesChoice)).all() == []


def test_a_rule_decides_alone() -> None:
    with pytest.raises(Permanent, match="decides alone"):
        request_of({"series_rule": "chest_frontal", "modality": "MR"})
    with pytest.raises(Permanent, match="series_rule"):
        request_of({"series_rule": ""})
