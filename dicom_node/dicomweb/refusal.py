"""Requests that are refused before or while their body is read (PS3.18 8.5, RFC 9110)."""

from __future__ import annotations

from collections.abc import Mapping


class Refusal(Exception):
    """A status other than success; the message is one sentence that holds nothing of the request.

    Attributes:
        status: HTTP status.
        headers: that go with the status.
    """

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.headers = dict(headers or {})
