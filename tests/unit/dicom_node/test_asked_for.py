"""The list of what was asked for: durable, unreadable to others, whole lines only."""

import datetime as dt
import stat
from pathlib import Path

import pytest

from dicom_node.asked_for import LIST_NAME, AskedFor
from dicom_node.durable import StorageFailed
from dicom_node.file_meta import IMPORTED, RETRIEVED

NOW = dt.datetime(2026, 3, 4, 12, 0, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)


def test_what_is_noted_is_known_to_every_reader(tmp_path: Path) -> None:
    one, other = AskedFor(tmp_path), AskedFor(tmp_path)
    assert other.look_up(["1.2"]) == {}
    one.note(["1.2", "1.3"], RETRIEVED, NOW)
    assert set(other.look_up(["1.2", "1.3", "1.4"])) == {"1.2", "1.3"}
    other.note(["1.4"], IMPORTED, NOW)
    found = one.look_up(["1.4"])["1.4"]
    assert (found.way, found.asked_at, found.is_removed(NOW)) == (IMPORTED, NOW, False)
    text = (tmp_path / LIST_NAME).read_text()
    assert "1.2" not in text.replace("2026-03-04", "")
    assert stat.S_IMODE((tmp_path / LIST_NAME).stat().st_mode) == 0o600


def test_nothing_is_noted_of_nothing(tmp_path: Path) -> None:
    AskedFor(tmp_path).note([], RETRIEVED, NOW)
    assert not (tmp_path / LIST_NAME).exists()


def test_a_line_that_a_power_cut_tore_hides_none_of_the_others(tmp_path: Path) -> None:
    asked = AskedFor(tmp_path)
    asked.note(["1.2"], RETRIEVED, NOW)
    with (tmp_path / LIST_NAME).open("ab") as file:
        file.write(b'{"key": "ab')
    assert set(asked.look_up(["1.2"])) == {"1.2"}
    asked.note(["1.3"], RETRIEVED, NOW)
    for each in (asked, AskedFor(tmp_path)):
        assert set(each.look_up(["1.2", "1.3"])) == {"1.2", "1.3"}


def test_lines_that_say_nothing_are_left_out(tmp_path: Path) -> None:
    asked = AskedFor(tmp_path)
    asked.note(["1.2"], RETRIEVED, NOW)
    with (tmp_path / LIST_NAME).open("ab") as file:
        file.write(b'[]\n{"key": "x", "way": "stolen", "at": "2026-03-04T12:00:00+00:00"}\n')
        file.write(b'{"key": "y", "way": "retrieved", "at": "2026-03-04"}\n\xff\n')
    asked.note(["1.3"], RETRIEVED, NOW)
    assert set(AskedFor(tmp_path).look_up(["1.2", "1.3", "x", "y"])) == {"1.2", "1.3"}


def test_with_a_damaged_list_nothing_may_be_asked_for(tmp_path: Path) -> None:
    AskedFor(tmp_path).note(["1.2"], RETRIEVED, NOW)
    (tmp_path / LIST_NAME).write_bytes(b"\0\0\n")
    asked = AskedFor(tmp_path)
    assert asked.look_up(["1.2"]) == {}
    with pytest.raises(StorageFailed, match="damaged"):
        asked.note(["1.3"], RETRIEVED, NOW)


def test_a_list_that_was_restored_is_read_anew(tmp_path: Path) -> None:
    asked = AskedFor(tmp_path)
    asked.note(["1.2"], RETRIEVED, NOW)
    kept = (tmp_path / LIST_NAME).read_bytes()
    asked.note(["1.3"], RETRIEVED, NOW)
    assert set(asked.look_up(["1.2", "1.3"])) == {"1.2", "1.3"}
    (tmp_path / "restored").write_bytes(kept)
    (tmp_path / "restored").replace(tmp_path / LIST_NAME)
    assert set(asked.look_up(["1.2", "1.3"])) == {"1.2"}


def test_what_comes_of_an_erased_study_is_removed_for_a_while(tmp_path: Path) -> None:
    asked = AskedFor(tmp_path)
    asked.note(["1.2"], RETRIEVED, NOW - HOUR)
    asked.note(["1.2"], RETRIEVED, NOW, NOW + HOUR)
    found = asked.look_up(["1.2"])["1.2"]
    assert found.is_removed(NOW)
    assert found.is_removed(NOW - 0.1 * HOUR)  # a clock is set by small steps
    assert not found.is_removed(NOW + HOUR)
    assert not found.is_removed(NOW - 24 * HOUR)  # the clock was ahead at the erasure
    asked.note(["1.2"], RETRIEVED, NOW + 0.5 * HOUR)  # a person asks for it anew
    assert not asked.look_up(["1.2"])["1.2"].is_removed(NOW + 0.5 * HOUR)
