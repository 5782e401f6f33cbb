"""Taking candidates in, one by one, by the rules of every other way in; or trying it only.

A trial walks the same way up to the moment at which an object would be kept, so that what it counts
is what the import counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection

from dicom_node.examination import examine
from dicom_node.file_meta import IMPORTED
from dicom_node.imports.arriving import Arriving
from dicom_node.imports.candidates import Candidate, Gone, Unavailable
from dicom_node.imports.fates import Fate, Refused, Stopped, Taken
from dicom_node.imports.selection import Selection
from dicom_node.imports.tolerant import Begun, NotReadable, TolerantReader
from dicom_node.intake import IncomingObject, Intake, Origin
from dicom_node.settings import DicomSettings
from dicom_node.sop_classes import negotiable

_MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"


class Taking:
    """Takes candidates in.

    Args:
        intake: where objects go; of a trial, into a temporary file.
        settings: what the node accepts, and how long an object may be.
        sender: the AE title that objects are filed under; issuers of [[dicom.peers]] apply by it.
        known: tells which SOP Instance UIDs the index holds under another digest.
        foresee: where nothing is to be kept, what takes each object instead.
        stopped: asked before each piece.
        selection: which studies are wanted.
        tell: told name, fate and reason of each that is refused or missing.
    """

    def __init__(
        self,
        intake: Intake,
        settings: DicomSettings,
        sender: str,
        known: Callable[[str], Collection[str]],
        *,
        foresee: Callable[[IncomingObject], object] | None = None,
        stopped: Callable[[], object] = bool,
        selection: Selection | None = None,
        tell: Callable[[str, Fate, str], object] = lambda *_: None,
    ) -> None:
        self.taken = Taken()
        self._intake = intake
        self._settings = settings
        self._accepts = negotiable(settings)
        self._sender = sender
        self._known = known
        self._foresee = foresee
        self._stopped = stopped
        self._selection = selection or Selection()
        self._tell = tell
        # Of this run, in short: it may be of millions.
        self._digests: set[bytes] = set()
        self._uids: set[bytes] = set()

    def take(self, candidate: Candidate) -> str:
        """Take one candidate in; return the digest of the object, empty where there is none.

        Raises:
            OutOfSpace: no room; what was taken before stays.
            StorageFailed: the disk failed.
            Transient: the archive does not answer.
            Stopped: so it was asked.
        """
        try:
            return self._take(candidate)
        except Refused as refused:
            self._count(candidate, refused.fate, str(refused))
        except Gone as error:
            self._count(candidate, Fate.MISSING, str(error))
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
        if fate in (Fate.REFUSED, Fate.MISSING):
            self.taken.reasons[fate, reason] += 1
            self._tell(candidate.name, fate, reason)

    def _take(self, candidate: Candidate) -> str:
        reader, arriving = TolerantReader(), None
        try:
            for piece in candidate.pieces():
                self._go_on()
                if arriving is not None:
                    arriving.write(piece)
                elif (begun := reader.feed(piece)) is not None:
                    arriving = self._begin(begun)
                    arriving.write(begun.rest)
            if arriving is None:
                begun = reader.end()
                arriving = self._begin(begun)
                arriving.write(begun.rest)
        except NotReadable as error:
            raise Refused(Fate.REFUSED if error.is_dicom else Fate.OTHER, str(error)) from None
        except BaseException:
            if arriving is not None:
                arriving.incoming.discard()
            raise
        return self._finish(arriving)

    def _go_on(self) -> None:
        if self._stopped():
            raise Stopped

    def _begin(self, begun: Begun) -> Arriving:
        said = begun.meta
        if said.sop_class_uid == _MEDIA_DIRECTORY:
            raise Refused(Fate.OTHER)
        if said.sop_class_uid not in self._accepts.sop_classes:
            raise Refused(Fate.REFUSED, "its SOP class is not stored here")
        if said.transfer_syntax_uid not in self._accepts.transfer_syntaxes:
            raise Refused(Fate.REFUSED, "its transfer syntax is not accepted")
        origin = Origin(
            said.sop_class_uid,
            said.sop_instance_uid,
            said.transfer_syntax_uid,
            self._sender,
            self._settings.ae_title,
            way=IMPORTED,
        )
        incoming = self._intake.begin(origin)
        return Arriving(incoming, self._settings.maximum_object_bytes, self._selection, begun)

    def _finish(self, arriving: Arriving) -> str:
        incoming = arriving.incoming
        digest, uid = incoming.digest, incoming.origin.sop_instance_uid
        try:
            arriving.judge()
            _, reason = examine(incoming, incoming.origin.sop_class_uid)
            if reason:
                raise Refused(Fate.REFUSED, reason)
            fate = self._fate(digest, uid)
            if fate is not Fate.HELD:
                self._keep(incoming)
        finally:
            incoming.discard()
        self._digests.add(_short(digest))
        self._uids.add(_short(uid))
        self.taken.fates[fate] += 1
        self.taken.completed += arriving.completed
        if fate is not Fate.HELD:
            self.taken.studies |= {arriving.study} - {""}
            self.taken.digests.append(digest)
        if fate is Fate.NEW:
            self.taken.size += incoming.size
        return digest

    def _keep(self, incoming: IncomingObject) -> None:
        if self._foresee is None:
            incoming.keep()
        else:
            self._foresee(incoming)

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
