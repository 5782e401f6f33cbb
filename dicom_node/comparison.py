"""Whether two stored objects show the same, whatever their headers say."""

from __future__ import annotations

from collections.abc import Mapping

from sqlmodel import Session, col, select

from dicom_node.database import insert_if_absent
from dicom_node.inspection import Inspector, Undecodable
from dicom_node.models import DecodedContent
from dicom_node.storage import DicomStore

_UNKNOWN = ""


class ContentComparison:
    """Compares stored objects by what they show; each is decoded once and the result kept.

    Args:
        session: keeps the results.
        store: where the objects lie.
        inspector: decodes them.
        decoded: results that were prepared before the transaction; empty: cannot be decoded.
    """

    def __init__(
        self,
        session: Session,
        store: DicomStore,
        inspector: Inspector,
        decoded: Mapping[str, str] | None = None,
    ) -> None:
        self._session = session
        self._store = store
        self._inspector = inspector
        self._decoded = dict(decoded or {})

    def same(self, one: str, other: str) -> bool:
        """Tell whether two objects show the same; one that nobody can decode equals none.

        Args:
            one: digest of a stored object.
            other: digest of another.

        Raises:
            OSError: the disk cannot be read.
            Transient: no decoder can be had now.
        """
        first = self._content(one)
        return first != _UNKNOWN and first == self._content(other)

    def _content(self, digest: str) -> str:
        known = known_contents(self._session, [digest]).get(digest)
        if known is not None:
            return known
        if digest not in self._decoded:
            self._decoded[digest] = decoded_content(self._store, self._inspector, digest)
        found = self._decoded[digest]
        if found != _UNKNOWN:
            # A failure is not kept: another decoder may succeed later.
            insert_if_absent(
                self._session, DecodedContent, [{"digest": digest, "content_digest": found}]
            )
        return found


def known_contents(session: Session, digests: list[str]) -> dict[str, str]:
    """Return the contents of those objects that were decoded before."""
    rows = session.exec(
        select(DecodedContent.digest, DecodedContent.content_digest).where(
            col(DecodedContent.digest).in_(digests)
        )
    )
    return dict(rows.all())


def decoded_content(store: DicomStore, inspector: Inspector, digest: str) -> str:
    """Return the digest of what an object shows; empty where it cannot be decoded.

    Raises:
        OSError: the disk cannot be read.
        Transient: no decoder can be had now.
    """
    try:
        return inspector.content_digest(store.path(digest))
    except Undecodable:
        return _UNKNOWN
