"""One part of a request: a PS3.10 file that becomes an object of the store, or a failure."""

from __future__ import annotations

import logging

from dicom_node.dicomweb.outcome import (
    SOP_CLASS_NOT_SUPPORTED,
    TRANSFER_SYNTAX_NOT_SUPPORTED,
    PartOutcome,
)
from dicom_node.dicomweb.shelf import Shelf
from dicom_node.dimse import CANNOT_UNDERSTAND, DATA_SET_MISMATCH, OUT_OF_RESOURCES
from dicom_node.durable import OutOfSpace
from dicom_node.examination import examine
from dicom_node.file_meta_reader import FileMeta, FileMetaReader
from dicom_node.intake import IncomingObject, Origin
from dicom_node.study_finder import StudyFinder

log = logging.getLogger(__name__)


class IncomingPart:
    """Takes the bytes of a part; nothing of it is in the store before :meth:`commit`.

    Args:
        shelf: where the object goes.
        sender: the AE title that the request's token stands for.
        study_instance_uid: of which the object must be; empty: of any.

    Attributes:
        ran_out_of_space: it failed because the disk is full.
    """

    def __init__(self, shelf: Shelf, sender: str, study_instance_uid: str) -> None:
        self.ran_out_of_space = False
        self._shelf = shelf
        self._sender = sender
        self._study = study_instance_uid
        self._meta = FileMetaReader()
        self._said = FileMeta("", "", "")
        self._limit = shelf.maximum_object_bytes(sender)
        self._finder: StudyFinder | None = None
        self._incoming: IncomingObject | None = None
        self._failure = 0
        self._held = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes; those of a part that has failed pass unread.

        Raises:
            StorageFailed: the disk failed.
        """
        if self._failure:
            return
        if self._incoming is not None:
            self._write(self._incoming, data)
            return
        try:
            found = self._meta.feed(data)
        except ValueError as error:
            self._fail(CANNOT_UNDERSTAND, str(error))
            return
        if found is not None:
            self._said, rest = found
            self._begin()
            if self._incoming is not None and rest:
                self._write(self._incoming, rest)

    def commit(self) -> PartOutcome:
        """Keep the object durably, or in quarantine, by the rules of C-STORE.

        Raises:
            StorageFailed: the disk failed.
        """
        try:
            if not self._failure:
                self._keep()
        except OutOfSpace as error:
            self._no_room(error)
        finally:
            self.discard()
        return PartOutcome(
            self._said.sop_class_uid, self._said.sop_instance_uid, failure=self._failure
        )

    def discard(self) -> None:
        """Forget what was not kept; harmless after :meth:`commit`."""
        incoming, self._incoming = self._incoming, None
        if incoming is not None:
            incoming.discard()
        held, self._held = self._held, 0
        self._shelf.give_back(self._sender, held)

    def _begin(self) -> None:
        said, accepts = self._said, self._shelf.accepts
        if said.sop_class_uid not in accepts.sop_classes:
            self._fail(SOP_CLASS_NOT_SUPPORTED, "its SOP class is not stored here")
        elif said.transfer_syntax_uid not in accepts.transfer_syntaxes:
            self._fail(TRANSFER_SYNTAX_NOT_SUPPORTED, "its transfer syntax is not accepted")
        else:
            origin = Origin(
                sop_class_uid=said.sop_class_uid,
                sop_instance_uid=said.sop_instance_uid,
                transfer_syntax_uid=said.transfer_syntax_uid,
                calling_ae_title=self._sender,
                called_ae_title=self._shelf.ae_title,
            )
            if self._study:
                self._finder = StudyFinder(said.transfer_syntax_uid)
            try:
                self._incoming = self._shelf.begin(origin)
            except OutOfSpace as error:
                self._no_room(error)

    def _write(self, incoming: IncomingObject, data: bytes) -> None:
        self._held += len(data)
        within = self._shelf.take(self._sender, len(data))
        if not within or incoming.size + len(data) > self._limit:
            self._fail(OUT_OF_RESOURCES, "longer than this node takes, or the quota is used up")
            return
        if self._finder is not None:
            self._finder.feed(data)
        try:
            incoming.write(data)
        except OutOfSpace as error:
            self._no_room(error)

    def _keep(self) -> None:
        incoming = self._incoming
        if incoming is None:
            self._fail(CANNOT_UNDERSTAND, "it ends before its file meta information does")
            return
        status, reason = examine(incoming, self._said.sop_class_uid)
        if reason:
            incoming.set_aside(reason)
            self._failure = status
            log.warning("object quarantined: %s", reason)
        elif self._finder is not None and self._finder.found != self._study:
            # Nothing is wrong with the object: it may come again to where it belongs.
            self._fail(DATA_SET_MISMATCH, "it is not known to be of the study that is stored to")
        else:
            incoming.keep()

    def _no_room(self, error: OutOfSpace) -> None:
        self.ran_out_of_space = True
        self._fail(OUT_OF_RESOURCES, str(error))

    def _fail(self, code: int, reason: str) -> None:
        log.warning("object refused: %s", reason)
        self._failure = code
        self.discard()
