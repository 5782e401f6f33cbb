"""Durable work on DBOS: prediction, sending and storage commitment survive a stop.

A workflow's id names stage, subject and version, so enqueueing twice is harmless. The main database
says what needs work and a sweep enqueues what is missing: losing this queue loses no work.
Ids and arguments are numbers of rows and digests, so that the queue names no patient.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from dbos import DBOS, SetWorkflowID

PREDICTION_QUEUE = "prediction"
TRANSMISSION_QUEUE = "transmission"
COMMITMENT_QUEUE = "commitment"

# Fixed by hand: the default hashes the source, and pending work would be stranded on upgrade.
_APPLICATION_VERSION = "2"
_EXECUTOR = "main"

PredictStudy = Callable[[int, int], None]
"""Predicts on one study: ids of the model and of the study's completion."""

SendReport = Callable[[int, int], float | None]
"""Sends one SR: id of the transmission, attempt; returns seconds until the next attempt."""

Commit = Callable[[str, int, int, int], None]
"""Makes one attempt of storage commitment: kind of row, its id, round, attempts before it."""


class Workflows:
    """Runs the durable workflows until closed; one object at a time in a process."""

    def __init__(
        self, database_url: str, predict: PredictStudy, send: SendReport, commit: Commit
    ) -> None:
        DBOS(
            config={
                "name": "radloop",
                "system_database_url": database_url,
                "application_version": _APPLICATION_VERSION,
                "executor_id": _EXECUTOR,
                "log_level": "ERROR",
                "console_log_level": "ERROR",
                "max_executor_threads": 6,
                "use_listen_notify": False,
                "scheduler_polling_interval_sec": 60.0,
            }
        )
        self._predict_workflow = DBOS.workflow(name="predict_study")(_predict_workflow(predict))
        self._send_workflow = DBOS.workflow(name="send_report")(_send_workflow(send))
        self._commit_workflow = DBOS.workflow(name="commit")(_commit_workflow(commit))
        DBOS.launch()
        # One model works at a time; sending waits for the network, so several may wait at once.
        DBOS.register_queue(PREDICTION_QUEUE, worker_concurrency=1, polling_interval_sec=0.2)
        DBOS.register_queue(TRANSMISSION_QUEUE, worker_concurrency=2, polling_interval_sec=0.2)
        DBOS.register_queue(COMMITMENT_QUEUE, worker_concurrency=2, polling_interval_sec=0.2)

    def enqueue_prediction(
        self, model_id: int, completion_id: int, study_digest: str, round_number: int
    ) -> None:
        """Ask for a prediction; the same request again is harmless.

        ``round_number`` grows with every decision of a person about the study.
        """
        with SetWorkflowID(f"predict:{completion_id}:{model_id}:{study_digest}:{round_number}"):
            DBOS.enqueue_workflow(PREDICTION_QUEUE, self._predict_workflow, model_id, completion_id)

    def enqueue_transmission(
        self, transmission_id: int, sop_instance_uid: str, round_number: int
    ) -> None:
        """Ask for a structured report to be sent; ``round_number`` grows when a person retries."""
        digest = hashlib.sha256(sop_instance_uid.encode()).hexdigest()
        with SetWorkflowID(f"send:{transmission_id}:{digest}:{round_number}"):
            DBOS.enqueue_workflow(TRANSMISSION_QUEUE, self._send_workflow, transmission_id)

    def enqueue_commitment(
        self, kind: str, key: int, name: str, round_number: int, attempt: int
    ) -> None:
        """Ask for one attempt of storage commitment.

        Each attempt is a workflow of its own: one that slept until the next would keep a place of
        the queue from other peers. The row says when the next one is due.

        Args:
            kind: which table.
            key: id of the row.
            name: a name that no other attempt ever had: what a queue has ended once, however it
                ended, it never begins again.
            round_number: how often it was begun anew.
            attempt: how many attempts of this round came before.
        """
        with SetWorkflowID(f"commit:{kind}:{key}:{round_number}:{attempt}:{name}"):
            DBOS.enqueue_workflow(
                COMMITMENT_QUEUE, self._commit_workflow, kind, key, round_number, attempt
            )

    def close(self) -> None:
        """Stop taking work; running workflows are resumed at the next start."""
        DBOS.destroy(workflow_completion_timeout_sec=2, destroy_registry=True)


# DBOS marks the functions that it wraps, and a bound method cannot be marked: hence the inner ones.


def _predict_workflow(predict: PredictStudy) -> Callable[[int, int], None]:
    @DBOS.step(name="predict", retries_allowed=True, max_attempts=3)
    def step(model_id: int, completion_id: int) -> None:
        predict(model_id, completion_id)

    def predict_study(model_id: int, completion_id: int) -> None:
        step(model_id, completion_id)

    return predict_study


def _send_workflow(send: SendReport) -> Callable[[int], None]:
    @DBOS.step(name="send")
    def step(transmission_id: int, attempt: int) -> float | None:
        return send(transmission_id, attempt)

    def send_report(transmission_id: int) -> None:
        attempt = 0
        while True:
            attempt += 1
            delay = step(transmission_id, attempt)
            if delay is None:
                return
            DBOS.sleep(delay)

    return send_report


def _commit_workflow(commit: Commit) -> Callable[[str, int, int, int], None]:
    @DBOS.step(name="commit")
    def step(kind: str, key: int, round_number: int, attempt: int) -> None:
        commit(kind, key, round_number, attempt)

    def commit_once(kind: str, key: int, round_number: int, attempt: int) -> None:
        step(kind, key, round_number, attempt)

    return commit_once
