"""What waits in the spool, by study: whatever is there is not yet in the tables.

Ask this before the tables: an object leaves the spool once its rows are committed, so what is
neither here nor, afterwards, there has not come.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from dicom_node.inspection import Inspector
from dicom_node.retrieval.archive import Stopped
from dicom_node.storage import DicomStore

_BATCH = 256


class Spooled:
    """Tells whether objects of a study wait for the index; each header is read once.

    Args:
        store: whose spool is looked into.
        inspector: reads headers; they come from peers.
        stopping: whether we are ending.
    """

    def __init__(
        self, store: DicomStore, inspector: Inspector, stopping: Callable[[], bool] = lambda: False
    ) -> None:
        self._store = store
        self._inspector = inspector
        self._stopping = stopping
        self._lock = threading.Lock()
        self._studies: dict[str, str] = {}  # by digest

    def holds(self, study_instance_uid: str) -> bool:
        """Tell whether an object of the study lies in the spool.

        Raises:
            Stopped: we are ending.
            Transient: no parser can be had now.
            OSError: the disk cannot be read.
        """
        with self._lock:
            waiting = self._store.spooled_digests()
            self._studies = {each: self._studies[each] for each in self._studies.keys() & waiting}
            fresh = sorted(waiting - self._studies.keys())
            for start in range(0, len(fresh), _BATCH):
                if self._stopping():
                    raise Stopped("the node is stopping")
                self._read(fresh[start : start + _BATCH])
            return study_instance_uid in self._studies.values()

    def _read(self, digests: list[str]) -> None:
        paths = [self._store.folders.spooled(each) for each in digests]
        try:
            headers = self._inspector.headers(paths)
        except FileNotFoundError:
            for each in digests if len(digests) > 1 else ():
                self._read([each])  # one of them was indexed meanwhile
            return
        for digest, header in zip(digests, headers, strict=True):
            self._studies[digest] = header.study_instance_uid
