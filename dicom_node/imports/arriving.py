"""An object that streams in from a candidate: no longer than it may be, and of a wanted study."""

from __future__ import annotations

from dicom_node.imports.fates import Fate, Refused
from dicom_node.imports.selection import WANTED, Selection, Verdict
from dicom_node.imports.tolerant import Begun
from dicom_node.intake import IncomingObject
from dicom_node.pixel_geometry import PIXEL_DATA
from dicom_node.study_finder import STUDY_INSTANCE_UID, ElementFinder

_COMPRESSED = (
    "its file meta information does not say the transfer syntax, and its pixel data are compressed"
)
_OF_VERDICTS = {
    Verdict.OTHER_STUDY: Fate.NOT_SELECTED,
    Verdict.YOUNG: Fate.YOUNG,
    Verdict.UNKNOWN: Fate.REFUSED,
}


class Arriving:
    """An object of which the data set streams by, no longer than it may be, if it is wanted."""

    def __init__(
        self, incoming: IncomingObject, limit: int, selection: Selection, begun: Begun
    ) -> None:
        self.incoming = incoming
        self._limit = limit
        self._selection = selection
        self.completed = begun.completed
        wanted = (*WANTED, PIXEL_DATA) if begun.guessed else WANTED
        self._finder = ElementFinder(incoming.origin.transfer_syntax_uid, wanted)
        self._judged = False

    @property
    def study(self) -> str:
        """Its Study Instance UID, empty where it could not be found."""
        return self._finder.values.get(STUDY_INSTANCE_UID, "")

    def judge(self) -> None:
        """See to it that its study is wanted, once."""
        if not self._judged:
            self._judged = True
            verdict, why = self._selection.judge(self._finder.values)
            if PIXEL_DATA in self._finder.undefined:
                raise Refused(Fate.REFUSED, _COMPRESSED)
            if verdict is not Verdict.WANTED:
                raise Refused(_OF_VERDICTS[verdict], why)

    def write(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            OutOfSpace: no room.
            StorageFailed: the disk failed.
        """
        if self.incoming.size + len(data) > self._limit:
            raise Refused(Fate.REFUSED, "it is longer than this node takes")
        self._finder.feed(data)
        if self._finder.done:
            self.judge()
        self.incoming.write(data)
