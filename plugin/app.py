"""``radloop serve``: the node's processes and threads, started and stopped together.

Receiver processes take images and know no database. This process indexes, listens for HL7, links,
runs durable work, answers the local socket and serves the status page.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from dicom_node.child_process import tell_where_on_request
from dicom_node.commitment.models import CommitmentInquiry, CommitmentRequest
from dicom_node.dicomweb.process import StowReceiver
from dicom_node.errors import Transient
from dicom_node.indexing import index_spool
from dicom_node.mllp.process import MessageReceiver
from dicom_node.receiver import Receivers
from dicom_node.settings import Hl7Settings
from dicom_node.storage import DicomStore
from dicom_node.studies import completed_contents
from labeling.standing import newest_run
from plugin.attempts import Attempts
from plugin.console import ConsoleServer
from plugin.context import open_context
from plugin.control import HEALTH, ControlServer
from plugin.folders import DataFolder
from plugin.linking import study_linker
from plugin.logs import configure_logging
from plugin.operations import ASKING, run_operation
from plugin.pipeline import waiting_predictions, waiting_transmissions
from plugin.settings import Settings
from plugin.stages.commitment_leases import free_attempts
from plugin.stages.commitments import (
    REQUEST,
    CommitmentUpkeep,
    file_commitments,
    report_commitment,
    waiting_requests,
)
from plugin.stages.complete import Completeness
from plugin.stages.documents import Documents
from plugin.stages.erase import attend_erasures, finish_erasures
from plugin.stages.feeds import read_outdated
from plugin.stages.file_messages import file_waiting
from plugin.stages.impact import note_impacts
from plugin.stages.inquiries import INQUIRY, ask_archive, waiting_inquiries
from plugin.stages.label import anything_unread, label_reports
from plugin.stages.predict import Predictor
from plugin.stages.priors import want_priors
from plugin.stages.reconcile import NightlyReconciliation
from plugin.stages.retain import DailyRetention
from plugin.stages.retrieve import Retriever
from plugin.stages.send import send_transmission
from plugin.stages.series_choices import ChoicesOfSweeps
from plugin.workflows import Workflows

log = logging.getLogger("radloop")

_PORT_NAMES = {"plain": "dicom", "tls": "dicom_tls"}
_HL7_NAMES = {"plain": "hl7", "tls": "hl7_tls"}
_WEB_NAMES = {"plain": "dicomweb", "tls": "dicomweb_tls"}
_INDEX_SECONDS = 0.2
_MESSAGE_SECONDS = 0.05
_IMPACT_SECONDS = 1.0
_DISK_SECONDS = 0.2
_LEFT_SECONDS = 5.0
_SWEEP_SECONDS = 0.5
_COMMITMENT_SECONDS = 0.2
_DOCUMENT_SECONDS = 0.3
_LABEL_SECONDS = 2.0
_RETURNED_SECONDS = 60.0
_RETENTION_SECONDS = 60.0
_RETRIEVAL_SECONDS = 0.5
_PRIORS_SECONDS = 5.0
_OF_OBJECTS = frozenset(
    {"erase", "feed accept", "feed withdraw", "import dicom", "quarantine decide", "reindex"}
)
"""Commands after which there may be documents to read that no indexing told of."""


class Node:
    """Everything that runs while the node serves; use as a context manager."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._stop = threading.Event()
        self._failed = threading.Event()
        self._stack = ExitStack()
        self._indexing = threading.Lock()
        self._sweeping = threading.Lock()
        self._filing = threading.Lock()
        self._reading = threading.Lock()
        self._attempts = Attempts()
        self._attempt_stuck = False
        self._messages_stopped = False
        self._all_read = False
        self._impacts_noted = False
        self._labeler_known = False

    def __enter__(self) -> Node:
        with ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()  # what asks archives ends before its database is closed
        self._stack.close()

    def wait(self, stop: threading.Event) -> bool:
        """Wait until ``stop`` is set or a part failed; return True when nothing failed."""
        while not stop.wait(0.2):
            if self._failed.is_set():
                return False
        return True

    def _start(self, stack: ExitStack) -> None:
        settings = self.settings
        folder = DataFolder(settings.data_folder)
        folder.create()
        stack.enter_context(folder.exclusive())
        opened = stack.enter_context(open_context(settings))
        self.context = context = replace(opened, still=self._still, stopping=self._stop.is_set)
        self._linking = context.linking()
        self._link_study = study_linker(context)
        context.schema()  # a schema that cannot be read must stop the start, not a night's work
        self.store = DicomStore(folder.root)
        self.store.recover()
        self._completeness = Completeness(context)
        self._choices = ChoicesOfSweeps(context)
        self._documents = Documents(context)
        self._finish_erasures()
        self._retriever = Retriever(context, self._stop.is_set)
        self._predictor = stack.enter_context(Predictor(context))
        free_attempts(context)
        self._upkeep = CommitmentUpkeep(context)
        self._workflows = self._start_workflows()
        stack.callback(lambda: self._workflows.close())
        stack.callback(self._attempts.close)
        for name, seconds, work in (
            ("index", _INDEX_SECONDS, self._index),
            ("documents", _DOCUMENT_SECONDS, self._read_documents),
            ("messages", _MESSAGE_SECONDS, self._file_messages),
            ("impact", _IMPACT_SECONDS, self._note_impacts),
            ("label", _LABEL_SECONDS, self._label),
            ("sweep", _SWEEP_SECONDS, self._sweep),
            ("commitments", _COMMITMENT_SECONDS, self._attend_commitments),
            ("returned", _RETURNED_SECONDS, lambda: attend_erasures(context)),
            ("retention", _RETENTION_SECONDS, DailyRetention(context).attend),
            ("retrieval", _RETRIEVAL_SECONDS, self._retriever.attend),
            ("priors", _PRIORS_SECONDS, lambda: want_priors(context)),
            ("reconcile", _PRIORS_SECONDS, NightlyReconciliation(context).attend),
            ("disk", _DISK_SECONDS, self._watch_disk),
        ):
            stack.enter_context(self._thread(name, seconds, work))
        self._messages = messages = MessageReceiver(_hl7_settings(settings), folder.root)
        messages.start()
        stack.callback(self._stop_messages)
        self._receivers = receivers = Receivers(settings.dicom, folder.root)
        receivers.start()
        stack.callback(receivers.stop)
        self._web = self._start_dicomweb(stack)
        console = ConsoleServer(settings)
        stack.callback(console.close)
        receivers.wait_until_ready()
        messages.wait_until_ready()
        web_addresses = self._web.addresses if self._web is not None else {}
        self.ports = {
            "http": console.port,
            **{_WEB_NAMES[name]: address[1] for name, address in web_addresses.items()},
            **{_PORT_NAMES[name]: address[1] for name, address in receivers.addresses.items()},
            **{_HL7_NAMES[name]: address[1] for name, address in messages.addresses.items()},
        }
        stack.callback(context.imports.close)
        control = ControlServer(folder.control_socket, self._operation, ASKING)
        stack.callback(control.close)

    def _start_dicomweb(self, stack: ExitStack) -> StowReceiver | None:
        """Listen for STOW-RS where the settings have a section for it."""
        if self.settings.dicomweb is None:
            return None
        folder = DataFolder(self.settings.data_folder).root
        receiver = StowReceiver(self.settings.dicomweb, self.settings.dicom, folder)
        stack.callback(receiver.stop)
        receiver.start()
        receiver.wait_until_ready()
        return receiver

    def _finish_erasures(self) -> None:
        """Finish what a crash interrupted, before anything new comes in."""
        try:
            finish_erasures(self.context)
        except Transient as error:
            log.error("an erasure is not finished: %s", error)  # the thread tries again

    def _start_workflows(self) -> Workflows:
        context = self.context
        return Workflows(
            context.folder.workflow_database_url,
            predict=self._predictor.predict_completed,
            send=lambda transmission, attempt: send_transmission(context, transmission, attempt),
            commit=self._commit,
        )

    @contextmanager
    def _still(self) -> Iterator[None]:
        """Hold indexing, filing and durable work; the receivers of images and messages go on.

        What is being fetched is cancelled and waited for: it may be about whoever is erased.
        """
        with self._retriever.still(), self._indexing, self._reading, self._filing, self._sweeping:
            self._attempts.close()  # what runs may be about the patient who is erased
            self._workflows.close()
            try:
                yield
            finally:
                self._attempts.reopen()
                try:
                    self._workflows = self._start_workflows()
                except BaseException:
                    self._failed.set()
                    raise

    def _failure(self) -> str:
        """Return why images or messages are not received any more, or an empty string."""
        return "; ".join(
            text
            for text in (
                self._receivers.failure,
                self._messages.failure,
                self._web.failure if self._web is not None else "",
                self.context.database.failure,
            )
            if text
        )

    def _watch_disk(self) -> None:
        """Stop taking messages once none can be filed; images have a watch of their own."""
        if self.context.database.failure and not self._messages_stopped:
            log.critical("messages are not received any more: %s", self.context.database.failure)
            self._stop_messages()

    def _stop_messages(self) -> None:
        if not self._messages_stopped:
            self._messages_stopped = True
            self._messages.stop()

    def _file_messages(self) -> None:
        with self._filing:
            file_waiting(self.context, self._linking)
            if not self._all_read:
                # Settings or profiles changed while the node was down, or an earlier layout
                # had no room for all that a message says.
                read_outdated(self.context, log.info)
                self._all_read = True

    def _note_impacts(self) -> None:
        noted = note_impacts(self.context, everything=not self._impacts_noted)
        self._impacts_noted = True
        if noted:
            log.info("%d notes on what has become stale: see radloop impact", noted)

    def _index(self) -> None:
        with self._indexing:
            self._index_spool()

    def _index_spool(self) -> None:
        context = self.context
        try:
            result = index_spool(
                context.database,
                self.store,
                self.settings.dicom,
                context.clock,
                self._link_study,
                context.sandbox,
            )
        except Exception:
            # Some rows may be there all the same, and nobody said which.
            self._completeness.touch_all()
            self._documents.touch_all()
            raise
        self._completeness.touch(result.studies)
        self._documents.touch(result.studies)
        if result.left:
            # The linker failed with some studies: the next look may wait, the others are indexed.
            self._stop.wait(_LEFT_SECONDS)

    def _read_documents(self) -> None:
        with self._reading:
            read = self._documents.sweep()
            # Images were taken out of use: the study is complete anew without them.
            self._completeness.touch(read.rejected_in)

    def _label(self) -> None:
        labeler = self.settings.labeling.automatic
        if not labeler:
            return
        with self.context.database.read() as session:
            # The settings may name another model since the last start; only a labeler can tell.
            changed = not self._labeler_known and newest_run(session, labeler) is not None
            unread = anything_unread(session, labeler)
        self._labeler_known = True
        if unread or changed:
            label_reports(self.context, labeler, lambda _: None)

    def _sweep(self) -> None:
        with self._sweeping:
            self._enqueue()

    def _enqueue(self) -> None:
        context = self.context
        self._completeness.sweep()
        with context.database.read() as session:
            complete = completed_contents(session)
        self._choices.look(complete)
        with context.database.read() as session:
            predictions = waiting_predictions(context, session)
            transmissions = waiting_transmissions(session)
        for each in predictions:
            if each.completion_id is not None:
                self._workflows.enqueue_prediction(
                    each.model_id, each.completion_id, each.study_digest, each.decisions
                )
        for row in transmissions:
            if row.id is not None:
                self._workflows.enqueue_transmission(row.id, row.sop_instance_uid, row.rounds)

    def _attend_commitments(self) -> None:
        """File what came about storage commitment, and have done what is due."""
        with self._sweeping:
            if self._attempt_stuck:
                # It could not write that it has ended: its row would wait until the next start.
                self._attempts.close()
                free_attempts(self.context)
                self._attempt_stuck = False
                self._attempts.reopen()
            file_commitments(self.context)
            self._upkeep.attend()
            for row in waiting_requests(self.context):
                self._enqueue_commitment(REQUEST, row)
            for each in waiting_inquiries(self.context):
                self._enqueue_commitment(INQUIRY, each)

    def _enqueue_commitment(self, kind: str, row: CommitmentRequest | CommitmentInquiry) -> None:
        if row.id is None:
            return
        name = self._attempts.queue(kind, row.id, row.peer)
        if name:
            self._workflows.enqueue_commitment(kind, row.id, name, row.rounds, row.attempts)

    def _commit(self, kind: str, key: int, round_number: int, attempt: int) -> None:
        once = {REQUEST: report_commitment, INQUIRY: ask_archive}[kind]
        try:
            with self._attempts.running(kind, key) as going:
                if going:
                    once(self.context, key, round_number, attempt)
        except Exception as error:
            # The queue would log the text of the error, which may name a patient.
            log.error("storage commitment %s %d failed: %s", kind, key, type(error).__name__)
            log.debug("traceback", exc_info=True)
            self._attempt_stuck = True

    def _operation(
        self, command: str, arguments: dict[str, Any], progress: Callable[[str], None]
    ) -> dict[str, Any]:
        if command == HEALTH:
            return {"receiving_failure": self._failure(), "ports": self.ports}
        try:
            return run_operation(self.context, command, arguments, progress)
        finally:
            # What a person decides can change what a study holds.
            self._completeness.touch_all()
            if command in _OF_OBJECTS:
                self._documents.touch_all()

    @contextmanager
    def _thread(self, name: str, seconds: float, work: Callable[[], Any]) -> Iterator[None]:
        def run() -> None:
            while not self._stop.wait(seconds):
                try:
                    work()
                except Exception as error:
                    # The class only: the text of an unexpected error may name a patient.
                    log.error("%s failed: %s", name, type(error).__name__)
                    log.debug("traceback", exc_info=True)
                    if self._stop.wait(5.0):
                        return

        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()


def _hl7_settings(settings: Settings) -> Hl7Settings:
    """Return the settings of the listener, with the watermark of images where it has none."""
    if settings.hl7.minimum_free_bytes is not None:
        return settings.hl7
    return settings.hl7.model_copy(update={"minimum_free_bytes": settings.dicom.minimum_free_bytes})


def _listed(ports: dict[str, int], name: str) -> str:
    """Return the ports of a service in words."""
    kinds = ((name, ""), (f"{name}_tls", " (TLS)"))
    return " and ".join(f"{ports[kind]}{note}" for kind, note in kinds if kind in ports)


def serve(settings: Settings) -> None:
    """Run the node until SIGTERM or SIGINT; print the ports that it listens on.

    Raises:
        Transient: a part of it failed.
    """
    configure_logging()
    tell_where_on_request()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with Node(settings) as node:
        ports = node.ports
        log.info("research use only, not for clinical decisions")
        log.info(
            "%s receives images on port %s, HL7 on port %s; status page http://127.0.0.1:%d/",
            settings.dicom.ae_title,
            _listed(ports, "dicom"),
            _listed(ports, "hl7"),
            ports["http"],
        )
        if web := _listed(ports, "dicomweb"):
            log.info("objects are also received by STOW-RS on port %s", web)
        served_well = node.wait(stop)
        log.info("stopping")
    if not served_well:
        # A supervisor starts it again; what was acknowledged is safe.
        raise Transient("a part of the node failed: see the log")
