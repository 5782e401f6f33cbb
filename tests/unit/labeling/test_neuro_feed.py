"""The look at the synthetic feed's brain reports takes one version of each and counts plainly."""

from __future__ import annotations

from pathlib import Path

from labeling.vocabulary import State
from tests.acceptance.neuro_reports import brain_reports, feed_lines


def log(folder: Path, *messages: tuple[str, str, str, str]) -> None:
    frames = [
        "<SB>MSH|^~\\&|A|B|C|D|20240101||ORU^R01|1|P|2.4<R>PID|1||1^^^X<R>"
        f"OBR||1|{accession}|{procedure}<R>OBX|1|TX|9||{text}||||||{status}<R><EB>"
        for accession, procedure, status, text in messages
    ]
    (folder / "feed.log").write_text("".join(frames), encoding="utf-8")


def test_the_final_version_of_each_brain_report_is_read(tmp_path: Path) -> None:
    log(
        tmp_path,
        ("A1", "I1^CT HEAD WO CONTRAST", "P", "first look"),
        ("A1", "I1^CT HEAD WO CONTRAST", "F", "final"),
        ("A1", "I1^CT HEAD WO CONTRAST", "P", "late draft"),
        ("A2", "I2^CHEST 2 VIEWS", "F", "the head of the rib"),
        ("A3", "I3^MRI BRAIN", "P", "only a draft"),
    )
    assert brain_reports(tmp_path) == {"A1": "final", "A3": "only a draft"}


def test_agreement_is_by_report_and_has_no_kappa_where_nobody_varies() -> None:
    absent, present = State.NOT_MENTIONED, State.PRESENT
    said = {
        "rules": {"mass": {"a": present, "b": absent}, "atrophy": {"a": absent, "b": absent}},
        "other": {"mass": {"a": present, "b": present}, "atrophy": {"a": absent, "b": absent}},
    }
    _, mass, atrophy = (line.split() for line in feed_lines(said))
    assert mass == ["mass", "1", "2", "0.50", "0.00"]
    assert atrophy == ["atrophy", "0", "0", "1.00", "-"]
