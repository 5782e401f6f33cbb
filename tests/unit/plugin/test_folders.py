import stat
from pathlib import Path

import pytest

from dicom_node.durable import write_durably
from plugin.errors import NodeIsRunning, Permanent
from plugin.folders import DataFolder


def test_folders_are_private(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    folder.create()
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (folder.root, *folder.root.iterdir())}
    assert modes == {0o700}


def test_one_process_writes_at_a_time(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    with folder.exclusive(), pytest.raises(NodeIsRunning), folder.exclusive():
        pytest.fail("the second holder got in")
    with folder.exclusive():
        pass


def test_the_salt_is_made_once_and_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RADLOOP_PATIENT_KEY_SALT", raising=False)
    folder = DataFolder(tmp_path)
    salt = folder.patient_key_salt()
    assert len(salt) == 64
    assert folder.patient_key_salt() == salt
    assert stat.S_IMODE((tmp_path / "patient_key_salt").stat().st_mode) == 0o600


def test_a_folder_takes_no_other_secret_than_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RADLOOP_PATIENT_KEY_SALT", "from the environment")
    folder = DataFolder(tmp_path)
    assert folder.patient_key_salt() == b"from the environment"
    assert not (tmp_path / "patient_key_salt").exists()
    monkeypatch.setenv("RADLOOP_PATIENT_KEY_SALT", "another")
    with pytest.raises(Permanent, match="not the secret"):
        folder.patient_key_salt()
    monkeypatch.delenv("RADLOOP_PATIENT_KEY_SALT")
    with pytest.raises(Permanent, match="is lost"):
        folder.patient_key_salt()


def test_a_lost_secret_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RADLOOP_PATIENT_KEY_SALT", raising=False)
    salt = DataFolder(tmp_path).patient_key_salt()
    (tmp_path / "patient_key_salt").unlink()
    with pytest.raises(Permanent, match="is lost"):
        DataFolder(tmp_path).patient_key_salt()
    (tmp_path / "patient_key_salt").write_bytes(salt)
    assert DataFolder(tmp_path).patient_key_salt() == salt


def test_a_durable_write_replaces_whole_files(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_durably(path, b"first")
    write_durably(path, b"second")
    assert path.read_bytes() == b"second"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    with pytest.raises(OSError, match="folder"):
        write_durably(target, b"content")
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]
