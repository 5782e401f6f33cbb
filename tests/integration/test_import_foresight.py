"""A trial tells what the index would set aside: by its own functions, and without a trace."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from sqlmodel import select

from dicom_node.errors import Transient
from dicom_node.imports import foresight
from dicom_node.models import Quarantined
from dicom_node.sandbox import Sandbox
from plugin.context import Context, open_context
from plugin.settings import load_settings
from plugin.settings_template import render
from tests.builders import mr_image, uid
from tests.import_room import bring_in, part10, snapshot
from tests.integration.test_import_answers import route


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    path = tmp_path / "node" / "radloop.toml"
    path.parent.mkdir()
    path.write_text(render(), encoding="utf-8")
    with open_context(load_settings(path)) as context:
        yield context


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "old"
    folder.mkdir()
    return folder


def contradictions() -> list[bytes]:
    """Return good objects and such as must not be used, each study with its own trouble."""
    found = [part10(mr_image(study=f"good{n}", instance=n)) for n in range(4)]
    found.append(part10(mr_image(study="cut", instance=1))[:-40])
    for number, patient in enumerate(("P1", "P2", "P1", "P2")):
        found.append(part10(mr_image(study="two", patient=patient, instance=number)))
    silent = [mr_image(study="silent", instance=n) for n in range(3)]
    silent[0].PatientID = ""
    silent[2].PatientID = "ELSE"
    found += map(part10, silent)
    stray = mr_image(study="stray")
    stray.SeriesInstanceUID = uid("series", "good0", "1")
    found.append(part10(stray))
    nameless = mr_image(study="nameless")
    del nameless.SeriesInstanceUID
    found.append(part10(nameless))
    found.append(part10(mr_image(study="routed", patient="SOMEBODY ELSE", instance=7)))
    return found


def put(folder: Path, contents: list[bytes]) -> None:
    for number, content in enumerate(contents):
        (folder / f"{number:03}").write_bytes(content)


def reasons(context: Context) -> list[str]:
    with context.database.read() as session:
        return [row.reason for row in session.exec(select(Quarantined))]


@pytest.mark.parametrize("together", [1, 3, 64])
@pytest.mark.parametrize("seed", range(3))
def test_a_trial_foresees_what_the_index_sets_aside(
    context: Context, folder: Path, monkeypatch: pytest.MonkeyPatch, seed: int, together: int
) -> None:
    monkeypatch.setattr(foresight, "_TOGETHER", together)
    contents = contradictions()
    random.Random(seed).shuffle(contents)
    put(folder, contents)
    route(context, "routed")
    before = snapshot(context)
    tried = bring_in(context, folder, dry_run=True)
    assert snapshot(context) == before
    done = bring_in(context, folder)
    assert done == tried
    assert done["quarantined"] == len(reasons(context)) >= 7
    assert done["new"] == len(contents)
    assert {why.split(" (")[0] for why in reasons(context)} >= {
        "its study belongs to another patient",
        "its series belongs to another study",
    }
    # What was set aside by the first import is judged by it in a trial of more.
    (folder / "more").write_bytes(part10(mr_image(study="two", patient="P2", instance=90)))
    (folder / "more1").write_bytes(part10(mr_image(study="two", patient="P1", instance=91)))
    tried = bring_in(context, folder, dry_run=True)
    assert tried == bring_in(context, folder)
    assert (tried["new"], tried["quarantined"]) == (2, 1)


def test_without_a_parser_the_trial_fails_and_leaves_nothing(
    context: Context, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder, contradictions())
    before = snapshot(context)

    def none(*_: object) -> list[object]:
        raise Transient("no parser can be had now")

    monkeypatch.setattr(Sandbox, "headers", none)
    with pytest.raises(Transient, match="no parser"):
        bring_in(context, folder, dry_run=True)
    assert snapshot(context) == before


def test_what_differs_is_left_to_the_index_and_counted_as_that(
    context: Context, folder: Path
) -> None:
    def other(image: Dataset) -> Dataset:
        image.PixelData = bytes(len(image.PixelData))
        return image

    put(folder, [part10(mr_image()), part10(other(mr_image()))])
    tried, done = bring_in(context, folder, dry_run=True), bring_in(context, folder)
    assert (tried["differs"], tried["quarantined"], done["quarantined"]) == (1, 0, 1)
    assert {**tried, "quarantined": 1} == done


@pytest.mark.parametrize("together", [1, 64])
def test_what_differs_is_foreseen_where_no_content_is_compared(
    context: Context, folder: Path, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    monkeypatch.setattr(foresight, "_TOGETHER", together)
    whole, other = part10(mr_image()), part10(mr_image(PatientID="ELSE", study="S1", instance=2))
    # A cut one is no obstacle to the whole one behind it; one that is cut later is never filed.
    put(folder, [whole[:-40], whole, whole[:-30], other, other[:-20]])
    tried, done = bring_in(context, folder, dry_run=True), bring_in(context, folder)
    assert tried == done
    assert (done["new"], done["differs"], done["quarantined"]) == (2, 3, 4)
