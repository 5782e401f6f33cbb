"""Settings of what the node asks archives for: how much, how fast, and at which hours."""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo
from dataclasses import dataclass

from pydantic import Field, field_validator, model_validator

from dicom_node.setting_values import Section, TimeZone

_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


@dataclass(frozen=True)
class Hours:
    """A span of each day, from its first minute up to its end; it may pass midnight."""

    begin: dt.time
    end: dt.time
    zone: dt.tzinfo

    def include(self, now: dt.datetime) -> bool:
        """Tell whether an aware time lies in it."""
        local = now.astimezone(self.zone).time()
        if self.begin <= self.end:
            return self.begin <= local < self.end
        return local >= self.begin or local < self.end


class RetrievalSettings(Section):
    """How archives are asked for studies, by ``radloop backfill`` and for priors."""

    hours: str = ""  # of the day at which backfills ask, such as "19:00-06:00"; empty: always
    time_zone: TimeZone = ""  # of these hours; needed with them
    studies_per_hour: int = Field(default=120, ge=0)  # asked for, priors included; 0: no limit
    parallel: int = Field(default=1, ge=1, le=8)  # studies at a time
    maximum_instances: int = Field(default=10000, ge=1, le=20000)  # a larger study is left out
    maximum_bytes: int = Field(default=32 * 1024**3, ge=1)  # of one study, by C-GET
    maximum_attempts: int = Field(default=4, ge=1)  # to fetch one study
    retry_seconds: float = Field(default=300.0, gt=0)  # before the second try; then longer
    response_seconds: float = Field(default=300.0, gt=0)  # silence of an archive at work
    study_seconds: float = Field(
        default=3600.0, gt=0
    )  # to ask about one study, and again to fetch it
    arrival_seconds: float = Field(default=120.0, gt=0)  # until what was sent is indexed
    priors_from: str = ""  # [[pacs]] that is asked for priors of [[prediction]]
    reconcile_with: str = ""  # [[pacs]] that is compared with each night; empty: none
    reconcile_hour: int = Field(default=3, ge=0, le=23)  # in time_zone; without one, UTC

    @field_validator("hours")
    @classmethod
    def _check_hours(cls, value: str) -> str:
        if value and _HOURS.fullmatch(value) is None:
            raise ValueError('hours are written as "19:00-06:00"')
        if value and value[:5] == value[6:]:
            raise ValueError("hours that end when they begin are none")
        return value

    @model_validator(mode="after")
    def _check_zone(self) -> RetrievalSettings:
        if self.hours and not self.time_zone:
            raise ValueError("hours need time_zone, such as Europe/Berlin")
        return self

    @property
    def zone(self) -> dt.tzinfo:
        """The zone of hours."""
        return zoneinfo.ZoneInfo(self.time_zone) if self.time_zone else dt.UTC

    def open_at(self, now: dt.datetime) -> bool:
        """Tell whether backfills may ask at an aware time."""
        found = _HOURS.fullmatch(self.hours)
        if found is None:
            return True
        first, minute, last, to_minute = map(int, found.groups())
        return Hours(dt.time(first, minute), dt.time(last, to_minute), self.zone).include(now)
