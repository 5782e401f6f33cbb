"""Which studies an import is of, and where the names of what does not come in stand."""

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dicom_node.archive_settings import PacsPeer
from dicom_node.errors import Permanent
from dicom_node.imports.selection import YOUNG_DAYS, Selection, Verdict, read_studies
from dicom_node.solicited import solicited_studies
from dicom_node.storage_scu import send_instances
from plugin import errors
from plugin.cli import app
from plugin.context import Context, open_context
from plugin.settings import load_settings
from plugin.settings_template import render
from tests.builders import mr_image, uid
from tests.import_room import bring_in, part10, snapshot, tables, written
from tests.integration.test_import_answers import route
from tests.peers import running_orthanc

TODAY = dt.date(2026, 3, 10)
NOW = dt.datetime(2026, 3, 10, 9, tzinfo=dt.UTC)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "node" / "radloop.toml"
    path.parent.mkdir()
    path.write_text(render(), encoding="utf-8")
    return path


@pytest.fixture
def context(config: Path) -> Iterator[Context]:
    with open_context(load_settings(config)) as context:
        yield replace(context, clock=lambda: NOW)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "DOE^JANE"
    folder.mkdir()
    return folder


def put(folder: Path, study: str, date: str, **values: Any) -> None:
    image = mr_image(study=study, series=study, StudyDate=date, **values)
    (folder / study).write_bytes(part10(image))


def both(context: Context, source: object, **more: Any) -> dict[str, Any]:
    """Try it, do it, see that both say the same, and that another run changes nothing."""
    tried = bring_in(context, source, dry_run=True, **more)
    done = bring_in(context, source, **more)
    assert done == tried
    before = snapshot(context)
    bring_in(context, source, **more)
    assert snapshot(context) == before
    return done


@pytest.mark.filterwarnings("ignore:Invalid value for VR DA")
def test_studies_are_chosen_by_date(context: Context, folder: Path) -> None:
    for name, date in (("a", "20240101"), ("b", "20250101"), ("c", "2025.06.01"), ("d", "20260101"),
                       ("e", ""), ("f", "20251399")):  # fmt: skip
        put(folder, name, date)
    done = both(context, folder, since="2025-01-01", before="2026-01-01")
    assert (done["new"], done["not_selected"], done["refused"]) == (2, 2, 2)
    (reason,) = done["reasons"]
    assert "no study date" in reason["why"]
    everything = bring_in(context, folder)
    assert (everything["new"], everything["held"]) == (4, 2)


def test_studies_are_chosen_by_a_list(context: Context, folder: Path, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        put(folder, name, "20250101")
    wanted = tmp_path / "studies.txt"
    wanted.write_bytes(b"\xef\xbb\xbf" + f"{uid('study', 'a')}\r\n\nA-c\nA-nowhere\n".encode())
    refused = tmp_path / "refused.jsonl"
    done = both(context, folder, studies=str(wanted))
    assert (done["new"], done["not_selected"], done["studies_not_found"]) == (2, 1, 1)
    with context.database.read() as session:
        assert set(solicited_studies(session)) == {uid("study", "a"), uid("study", "c")}
    bring_in(context, folder, studies=str(wanted), refused=str(refused))
    (line,) = map(json.loads, refused.read_text().splitlines())
    assert (line["study"], line["fate"]) == ("A-nowhere", "missing")


def test_studies_of_an_orthanc_are_chosen(context: Context, tmp_path: Path) -> None:
    with running_orthanc(tmp_path / "orthanc") as orthanc:
        peer = PacsPeer(ae_title="PACS", host="127.0.0.1", port=orthanc.port)
        assert all(
            each.delivered for each in send_instances(peer, "MR1", written(tmp_path / "i", 6))
        )
        wanted = tmp_path / "studies.txt"
        wanted.write_text(f"A-S1\n{uid('study', 'S4')}\n")
        url = f"http://127.0.0.1:{orthanc.http_port}"
        done = both(context, url, studies=str(wanted))
        assert (done["new"], done["studies"], done["not_selected"]) == (4, 2, 8)
        assert both(context, url, before="2026-01-02")["not_selected"] == 8  # all of that day
        assert both(context, url, since="2026-01-02")["new"] == 8


def test_studies_that_may_still_be_on_their_way_are_left_out(
    context: Context, folder: Path
) -> None:
    put(folder, "old", (TODAY - dt.timedelta(days=YOUNG_DAYS + 1)).strftime("%Y%m%d"))
    put(folder, "young", (TODAY - dt.timedelta(days=YOUNG_DAYS)).strftime("%Y%m%d"))
    put(folder, "today", TODAY.strftime("%Y%m%d"))
    put(folder, "tomorrow", (TODAY + dt.timedelta(days=1)).strftime("%Y%m%d"))
    done = both(context, folder)
    assert (done["new"], done["young"]) == (1, 3)
    # What was left out is sent, and is answered.
    route(context, "today")
    with context.database.read() as session:
        assert set(solicited_studies(session)) == {uid("study", "old")}
    assert both(context, folder, young=True)["new"] >= 2


def test_a_study_that_was_routed_before_stays_answered(context: Context, folder: Path) -> None:
    route(context, "S")
    image = mr_image(study="S", series="other", instance=2, StudyDate="20200101")
    (folder / "image").write_bytes(part10(image))
    assert bring_in(context, folder)["new"] == 1
    with context.database.read() as session:
        assert solicited_studies(session) == {}


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"since": "1.2.2025"}, "--since is a date"),
        ({"before": "20251399"}, "--before is a date"),
        ({"since": "2025-01-01", "before": "2025-01-01"}, "no study date lies"),
    ],
)
def test_what_cannot_be_chosen_is_refused_before_anything_is_read(
    context: Context, folder: Path, more: dict[str, str], reason: str
) -> None:
    put(folder, "a", "20250101")
    with pytest.raises(errors.Permanent, match=reason):
        bring_in(context, folder, **more)
    assert tables(context) == (0, 0, set())


@pytest.mark.parametrize("content", [b"", b"\n\n", b"1.2\x00", "1.2\nä".encode(), b"1" * 65])
def test_lists_that_are_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "list"
    path.write_bytes(content)
    with pytest.raises(Permanent):
        read_studies(path)


def test_an_object_that_names_no_study_is_not_told_to_be_of_the_list() -> None:
    chosen = Selection(studies=frozenset({"1.2"}))
    assert chosen.judge({})[0] is Verdict.UNKNOWN
    assert chosen.judge({0x0020000D: "1.3"})[0] is Verdict.OTHER_STUDY
    assert chosen.judge({0x0020000D: "1.3", 0x00080050: " 1.2"})[0] is Verdict.WANTED
    assert chosen.unmet == frozenset()


def test_a_command_that_is_refused_leaves_no_file(context: Context, folder: Path) -> None:
    listed = folder.parent / "refused.jsonl"
    with pytest.raises(errors.Permanent):
        bring_in(context, folder, sender="LONGER THAN ANY TITLE", refused=str(listed))
    assert not listed.exists()


def test_names_stand_in_the_file_and_nowhere_else(
    config: Path, folder: Path, tmp_path: Path
) -> None:
    put(folder, "good", "20250101")
    strange = mr_image(study="strange")
    strange.SOPClassUID = "1.2.840.10008.1.1"
    for number in range(60):
        (folder / f"DOE^JANE {number}").write_bytes(part10(strange))
    (folder / "link").symlink_to(folder / "good")
    listed = tmp_path / "refused.jsonl"
    arguments = ["import", "dicom", str(folder), "--config", str(config), "--refused", str(listed)]
    said = CliRunner().invoke(app, arguments)
    assert said.exit_code == 1
    assert "its SOP class is not stored here" in said.output
    assert "DOE" not in said.output
    lines = [json.loads(line) for line in listed.read_text().splitlines()]
    assert len(lines) == 61
    assert {line["fate"] for line in lines} == {"refused", "missing"}
    assert {"file": "link", "fate": "missing",
            "why": "it is a link, and links are not followed"} in lines  # fmt: skip
    assert listed.stat().st_mode & 0o777 == 0o600
    again = CliRunner().invoke(app, [*arguments, "--dry-run"])
    assert again.exit_code == 1
    assert "exists already" in str(again.exception)
    trial = tmp_path / "trial.jsonl"
    CliRunner().invoke(app, [*arguments[:-1], str(trial), "--dry-run"])
    assert trial.read_bytes() == listed.read_bytes()


def test_young_studies_are_hinted_at(config: Path, folder: Path) -> None:
    put(folder, "young", dt.datetime.now(dt.UTC).strftime("%Y%m%d"))
    arguments = ["import", "dicom", str(folder), "--config", str(config)]
    said = CliRunner().invoke(app, arguments)
    assert said.exit_code == 1
    assert "--young takes them" in said.output
    assert CliRunner().invoke(app, [*arguments, "--young"]).exit_code == 0
