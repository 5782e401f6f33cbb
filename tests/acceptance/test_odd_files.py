"""Odd files, as they are: kept byte for byte or refused with a reason, and no harm done."""

from collections import Counter
from pathlib import Path

import pytest

from tests.acceptance.odd_files import (
    BROKEN,
    NOT_SENT,
    STORED,
    Fate,
    NoDecompressor,
    OddFile,
    default_folders,
    read_odd_file,
    report,
    run,
)
from tests.builders import mr_image, write_file
from tests.peers import absent


@pytest.fixture(scope="module")
def fates(tmp_path_factory: pytest.TempPathFactory) -> list[Fate]:
    try:
        return run(default_folders(), tmp_path_factory.mktemp("odd"))
    except NoDecompressor:
        absent("zstd")
        raise


@pytest.mark.peer
@pytest.mark.timeout(300)
def test_every_odd_file_is_kept_or_refused_with_a_reason(fates: list[Fate]) -> None:
    report(fates)
    assert [fate for fate in fates if fate.outcome in BROKEN] == []
    outcomes = Counter(fate.outcome for fate in fates)
    assert outcomes[STORED] > outcomes.total() / 2
    assert outcomes[NOT_SENT] < outcomes.total() / 20
    assert all(fate.reason for fate in fates if fate.outcome != STORED)


@pytest.mark.peer
@pytest.mark.timeout(300)
def test_no_file_is_refused_for_a_mistake_of_ours(fates: list[Fate]) -> None:
    mistakes = ("AttributeError", "TypeError", "NameError", "UnboundLocalError")
    assert [fate for fate in fates if any(each in fate.reason for each in mistakes)] == []


def test_the_bytes_behind_the_file_meta_are_what_is_sent(tmp_path: Path) -> None:
    content = write_file(tmp_path / "image.dcm", mr_image()).read_bytes()
    file = read_odd_file("image.dcm", content)
    assert isinstance(file, OddFile)
    assert content.endswith(file.data)
    assert file.data.startswith(b"\x08\x00")
    assert read_odd_file("rest", file.data[:40]) == "names no object"
