"""Taking candidates in, one by one, by the rules of every other way in; or trying it only.

A trial walks the same way up to the moment at which an object would be kept, so that what it counts
is what the import counts.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from enum import StrEnum

from dicom_node.examination import examine
from dicom_node.file_meta import IMPORTED
from dicom_node.file_meta_reader import FileMeta, FileMetaReader
from dicom_node.imports.candidates import Candidate, Unavailable
from dicom_node.intake import HEAD_BYTES, IncomingObject, Intake, Origin
from dicom_node.settings import DicomSettings
from dicom_node.sop_classes import negotiable
from dicom_node.study_finder import StudyFinder

_MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
_LISTED = 50
_PREFIX_END = 132


class Fate(StrEnum):
    """What becomes of a candidate."""

    NEW = "new"  # it was not here
    HELD = "held"  # the same bytes are here already
    DIFFERS = "differs"  # other bytes are here under its SOP Instance UID: the index judges
    REFUSED = "refused"  # it is DICOM and must not be stored, with a reason
    OTHER = "other"  # no DICOM object


@dataclass
class Taken:
    """What an import has done, or would do.

    Attributes:
        fates: how many candidates came to what.
        studies: Study Instance UIDs of what is new or differs.
        size: bytes of what is new.
        digests: of what is new or differs.
        refused: name and reason of the first that were refused.
    """

    fates: Counter[Fate] = field(default_factory=Counter)
    studies: set[str] = field(default_factory=set)
    size: int = 0
    digests: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)


class _Refused(Exception):
    """The reason why a candidate is not taken; ``fate`` says of which kind it is."""

    def __init__(self, fate: Fate, reason: str = "") -> None:
        super().__init__(reason)
        self.fate = fate


class Taking:
    """Takes candidates in.

    Args:
        intake: where objects go; it is not written to where ``trial``.
        settings: what the node accepts, and how long an object may be.
        sender: the AE title that objects are filed under; issuers of [[dicom.peers]] apply by it.
        known: tells which SOP Instance UIDs the index holds under another digest.
        trial: whether nothing is kept.
    """

    def __init__(
        self,
        intake: Intake,
        settings: DicomSettings,
        sender: str,
        known: Callable[[str], Collection[str]],
        *,
        trial: bool,
    ) -> None:
        self.taken = Taken()
        self._intake = intake
        self._settings = settings
        self._accepts = negotiable(settings)
        self._sender = sender
        self._known = known
        self._trial = trial
        # Of this run, in short: it may be of millions.
        self._digests: set[bytes] = set()
        self._uids: set[bytes] = set()

    def take(self, candidate: Candidate) -> str:
        """Take one candidate in; return the digest of the object, empty where there is none.

        Raises:
            OutOfSpace: no room; what was taken before stays.
            StorageFailed: the disk failed.
            Transient: the archive does not answer.
        """
        try:
            return self._take(candidate)
        except _Refused as refused:
            self._count(candidate, refused.fate, str(refused))
        except Unavailable as error:
            self._count(candidate, Fate.REFUSED, str(error))
        except OSError as error:
            self._count(candidate, Fate.REFUSED, f"it cannot be read ({error.strerror})")
        return ""

    def pass_over(self, digest: str) -> bool:
        """Count a candidate that was taken before; False where its object is not here any more."""
        if not self._is_here(digest):
            return False
        self.taken.fates[Fate.HELD] += 1
        return True

    def _count(self, candidate: Candidate, fate: Fate, reason: str) -> None:
        self.taken.fates[fate] += 1
        if fate is Fate.REFUSED and len(self.taken.refused) < _LISTED:
            self.taken.refused.append((candidate.name, reason))

    def _take(self, candidate: Candidate) -> str:
        reader, arriving, begun = FileMetaReader(), None, b""
        try:
            for piece in candidate.pieces():
                if arriving is not None:
                    arriving.write(piece)
                    continue
                begun += piece[:_PREFIX_END]
                found = reader.feed(piece)
                if found is not None:
                    said, rest = found
                    arriving = self._begin(said)
                    arriving.write(rest)
        except ValueError as error:
            raise _Refused(_fate_of_file(begun), str(error)) from None
        except BaseException:
            if arriving is not None:
                arriving.incoming.discard()
            raise
        if arriving is None:
            raise _Refused(_fate_of_file(begun), "it ends inside its file meta information")
        return self._finish(arriving)

    def _begin(self, said: FileMeta) -> _Arriving:
        if said.sop_class_uid == _MEDIA_DIRECTORY:
            raise _Refused(Fate.OTHER)
        if said.sop_class_uid not in self._accepts.sop_classes:
            raise _Refused(Fate.REFUSED, "its SOP class is not stored here")
        if said.transfer_syntax_uid not in self._accepts.transfer_syntaxes:
            raise _Refused(Fate.REFUSED, "its transfer syntax is not accepted")
        origin = Origin(
            said.sop_class_uid,
            said.sop_instance_uid,
            said.transfer_syntax_uid,
            self._sender,
            self._settings.ae_title,
            way=IMPORTED,
        )
        incoming = _Trial(origin) if self._trial else self._intake.begin(origin)
        return _Arriving(incoming, self._settings.maximum_object_bytes)

    def _finish(self, arriving: _Arriving) -> str:
        incoming = arriving.incoming
        digest, uid = incoming.digest, incoming.origin.sop_instance_uid
        try:
            _, reason = examine(incoming, incoming.origin.sop_class_uid)
            if reason:
                raise _Refused(Fate.REFUSED, reason)
            fate = self._fate(digest, uid)
            if fate is not Fate.HELD:
                incoming.keep()
        finally:
            incoming.discard()
        self._digests.add(_short(digest))
        self._uids.add(_short(uid))
        self.taken.fates[fate] += 1
        if fate is not Fate.HELD:
            self.taken.studies |= {arriving.study} - {""}
            self.taken.digests.append(digest)
        if fate is Fate.NEW:
            self.taken.size += incoming.size
        return digest

    def _fate(self, digest: str, uid: str) -> Fate:
        if self._is_here(digest) or _short(digest) in self._digests:
            return Fate.HELD
        others = set(self._known(uid)) - {digest}
        return Fate.DIFFERS if others or _short(uid) in self._uids else Fate.NEW

    def _is_here(self, digest: str) -> bool:
        folders = self._intake.folders
        places = (folders.archived(digest), folders.spooled(digest), folders.quarantined(digest))
        return any(path.exists() for path in places)


def _short(text: str) -> bytes:
    return hashlib.blake2b(text.encode("latin-1", "replace"), digest_size=16).digest()


def _fate_of_file(begun: bytes) -> Fate:
    """Tell a damaged DICOM file from one of another kind, by its first bytes (PS3.10 7.1)."""
    return Fate.REFUSED if begun[128:_PREFIX_END] == b"DICM" else Fate.OTHER


class _Trial:
    """Stands for an incoming object where nothing is kept."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.head = bytearray()
        self.size = 0
        self._sha = origin.new_digest()

    @property
    def digest(self) -> str:
        """The name that the object would have in the store."""
        return self._sha.hexdigest()

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        if len(self.head) < HEAD_BYTES:
            self.head += data[: HEAD_BYTES - len(self.head)]
        self.size += len(data)
        self._sha.update(data)

    def keep(self) -> str:
        """Return the digest, and keep nothing."""
        return self.digest

    def discard(self) -> None:
        """Do nothing: nothing was kept."""


class _Arriving:
    """An object of which the data set streams by, no longer than it may be."""

    def __init__(self, incoming: IncomingObject | _Trial, limit: int) -> None:
        self.incoming = incoming
        self._limit = limit
        self._finder = StudyFinder(incoming.origin.transfer_syntax_uid)

    @property
    def study(self) -> str:
        """Its Study Instance UID, empty where it could not be found."""
        return self._finder.found

    def write(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            OutOfSpace: no room.
            StorageFailed: the disk failed.
        """
        if self.incoming.size + len(data) > self._limit:
            raise _Refused(Fate.REFUSED, "it is longer than this node takes")
        self._finder.feed(data)
        self.incoming.write(data)
