"""Times: zones that the sender or the profile gives, and one order for all of them."""

import pytest

from dicom_node.hl7.times import comparable, with_zone


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("20260301120000", "Europe/Berlin", "20260301120000+0100"),
        ("20260701120000", "Europe/Berlin", "20260701120000+0200"),
        ("202607011200", "America/St_Johns", "202607011200-0230"),
        ("2026070112", "Europe/Berlin", "2026070112+0200"),
        ("20260701120000.1234", "UTC", "20260701120000.1234+0000"),
        ("20261025023000", "Europe/Berlin", "20261025023000+0200"),  # twice that night: the first
        ("20260301120000-0500", "Europe/Berlin", "20260301120000-0500"),
        ("20260301", "Europe/Berlin", "20260301"),
        ("20260301120000", "", "20260301120000"),
        ("Aug 14, 2004", "Europe/Berlin", "Aug 14, 2004"),
        ("20261301120000", "Europe/Berlin", "20261301120000"),
        ("00010101000000", "Europe/Berlin", "00010101000000+0053"),
        ("", "Europe/Berlin", ""),
    ],
)
def test_zone_of_the_feed(text: str, zone: str, expected: str) -> None:
    assert with_zone(text, zone) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20260301120000+0100", "20260301110000000000"),
        ("20260301120000.5-0030", "20260301123000500000"),
        ("20260301120000.123456789", "20260301120000123456"),
        ("2026", "20260101000000000000"),
        ("202603", "20260301000000000000"),
        ("20260301", "20260301000000000000"),
        ("20260301235960+0000", "20260302000000000000"),
        ("99991231235960", ""),
        ("00010101000000+0100", ""),
        ("20260230", ""),
        ("20260301250000", ""),
        ("20260301120061", ""),
        ("2026-03-01", ""),
        ("Aug 14, 2004", ""),
        ("", ""),
        ("2" * 100_000, ""),
    ],
)
def test_comparable(text: str, expected: str) -> None:
    assert comparable(text) == expected


def test_a_declared_zone_wins_over_that_of_the_profile() -> None:
    assert comparable("20260301120000+0000", "Asia/Tokyo") > comparable(
        "20260301200000", "Asia/Tokyo"
    )
