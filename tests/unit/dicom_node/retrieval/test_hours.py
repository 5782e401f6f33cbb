"""The hours of the day at which archives are asked, in the zone of the settings."""

import datetime as dt

import pytest
from pydantic import ValidationError

from dicom_node.retrieval.settings import RetrievalSettings


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("hours", "now", "is_open"),
    [
        ("", "2026-01-05T12:00", True),
        ("19:00-06:00", "2026-01-05T17:59", False),  # 18:59 in Berlin
        ("19:00-06:00", "2026-01-05T18:00", True),
        ("19:00-06:00", "2026-01-06T04:59", True),
        ("19:00-06:00", "2026-01-06T05:00", False),
        ("19:00-06:00", "2026-07-05T17:00", True),  # summer time
        ("12:00-13:30", "2026-01-05T12:29", True),
        ("12:00-13:30", "2026-01-05T12:30", False),
    ],
)
def test_hours_are_those_of_the_zone(hours: str, now: str, is_open: bool) -> None:
    settings = RetrievalSettings(hours=hours, time_zone="Europe/Berlin")
    assert settings.open_at(at(now)) is is_open


@pytest.mark.parametrize("hours", ["19-06", "24:00-06:00", "19:00", "7:00-8:00", "06:00-06:00"])
def test_hours_that_are_none_are_refused(hours: str) -> None:
    with pytest.raises(ValidationError, match="hours"):
        RetrievalSettings(hours=hours, time_zone="Europe/Berlin")


def test_hours_need_a_zone() -> None:
    with pytest.raises(ValidationError, match="need time_zone"):
        RetrievalSettings(hours="19:00-06:00")
