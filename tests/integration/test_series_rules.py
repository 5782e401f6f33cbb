"""``radloop series``: what a rule picks of the archive of a small node."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.uid import generate_uid
from typer.testing import CliRunner

from dicom_node.database import utc_now
from dicom_node.indexing import index_spool
from dicom_node.storage import DicomStore
from plugin.cli import app
from plugin.context import open_context
from plugin.errors import Permanent
from plugin.folders import DataFolder
from plugin.questions import ask
from plugin.settings import load_settings
from plugin.settings_template import render
from tests.builders import received
from tests.image_builders import PRESENTATION_STATE, SECONDARY_CAPTURE, image, t2_slice
from training.errors import Permanent as TrainingPermanent

GOOD, BARE = "1.2.3.100", "1.2.3.200"
T1 = {"EchoTime": 11.0, "RepetitionTime": 600.0}


def stored() -> list[Any]:
    """Return a study with all kinds of series, and one with nothing that fits."""
    small = np.zeros((4, 6), np.uint16)
    series: dict[str, list[Any]] = {
        f"{GOOD}.1": [t2_slice(4.0 * i) for i in range(6)],
        f"{GOOD}.2": [t2_slice(4.0 * i) for i in range(5)],
        f"{GOOD}.3": [t2_slice(4.0 * i, **T1) for i in range(6)],
        f"{GOOD}.4": [t2_slice(0, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])],
        f"{GOOD}.5": [image(small, SOPClassUID=SECONDARY_CAPTURE, ConversionType="WSD")],
        f"{GOOD}.6": [image(small, SOPClassUID=PRESENTATION_STATE, Modality="PR")],
        f"{BARE}.1": [t2_slice(4.0 * i, **T1) for i in range(6)],
    }
    del series[f"{GOOD}.6"][0].PixelData
    for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit"):
        delattr(series[f"{GOOD}.6"][0], keyword)
    for uid, images in series.items():
        for each in images:
            each.SeriesInstanceUID = uid
            each.StudyInstanceUID = uid.rpartition(".")[0]
            each.SOPInstanceUID = each.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    return [each for images in series.values() for each in images]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the settings of a node that holds the images and does not run."""
    path = tmp_path_factory.mktemp("node") / "radloop.toml"
    path.write_text(render(), encoding="utf-8")
    settings = load_settings(path)
    store = DicomStore(settings.data_folder)
    with open_context(settings) as context:
        store.recover()
        images = stored()
        for each in images:
            store.store(received(each))
        result = index_spool(context.database, store, settings.dicom, utc_now)
        assert result.indexed == len(images)
    return path


def said(config: Path, *arguments: str) -> str:
    result = CliRunner().invoke(app, ["series", "try", *arguments, "--config", str(config)])
    assert result.exit_code == 0, result.output
    return result.stdout


def try_rule(config: Path, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(said(config, *arguments, "--json"))
    return found


def test_what_a_rule_picks_of_the_archive(config: Path) -> None:
    found = try_rule(config, "lumbar_sagittal_t2")
    why = "the contrast is t1, by an echo time of 11 ms and a repetition time of 600 ms"
    assert found["studies"] == [
        {
            "study_instance_uid": GOOD,
            "takes": f"{GOOD}.1",
            "images": 6,
            "why": "fits; first by most_slices",
        },
        {"study_instance_uid": BARE, "takes": None, "images": 0, "why": why},
    ]
    assert found["counts"] == {"studies": 2, "taken": 1, "not taken": 1}
    assert {each["why"] for each in found["reasons"]} == {
        "fits; first by most_slices",
        "the contrast is t1, by an echo time of n ms and a repetition time of n ms",
    }


def test_every_series_of_a_study_has_its_reason(config: Path) -> None:
    found = try_rule(config, "lumbar_sagittal_t2", "--study", GOOD)
    told = {each["series_instance_uid"]: (each["taken"], each["why"]) for each in found["series"]}
    assert told == {
        f"{GOOD}.1": ("yes", "fits; first by most_slices"),
        f"{GOOD}.2": ("no", "fits, but another series is first by most_slices"),
        f"{GOOD}.3": (
            "no",
            "the contrast is t1, by an echo time of 11 ms and a repetition time of 600 ms",
        ),
        f"{GOOD}.4": ("no", "a localizer by its Image Type"),
        f"{GOOD}.5": ("no", "a secondary capture or screen save"),
        f"{GOOD}.6": (
            "no",
            "not images of the patient: a document, a presentation state or a measurement",
        ),
    }


def test_nothing_that_is_said_names_the_patient(config: Path) -> None:
    shown = said(config, "lumbar_sagittal_t1", "--study", GOOD)
    assert f"{GOOD}.3" in shown
    assert "Secret" not in shown
    assert "4711" not in shown


def test_the_command_answers_beside_a_node_that_works(config: Path) -> None:
    settings = load_settings(config)
    with (
        DataFolder(settings.data_folder).exclusive(),
        open_context(settings) as context,
        context.database.write(),
    ):
        assert try_rule(config, "lumbar_sagittal_t1")["counts"]["taken"] == 2


def test_a_rule_of_ones_own(config: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("name: own\ntitle: Own\nmodality: MR\ngeometry: sagittal\ncontrast: t1\n")
    assert try_rule(config, str(own))["counts"]["taken"] == 2


def test_what_cannot_be_answered(config: Path) -> None:
    settings = load_settings(config)
    arguments = {"rule": "lumbar_sagittal_t2", "study": "1.2.9", "details": True}
    with pytest.raises(Permanent, match="no image of a study with this UID is indexed"):
        ask(settings, "series", arguments)
    with pytest.raises(TrainingPermanent, match="there are chest_frontal"):
        ask(settings, "series", arguments | {"rule": "thorax"})


def test_the_rules_that_ship_are_listed() -> None:
    result = CliRunner().invoke(app, ["series", "rules", "--json"])
    found = json.loads(result.stdout)
    assert "lumbar_sagittal_t2" in [each["rule"] for each in found["rules"]]
