"""Child processes for models: labeling, training and prediction never run where messages are acked.

The parent writes jobs as JSON lines to the child's standard input and reads events as JSON lines
from its standard output: ``progress``, ``item`` (one piece of the result), then ``done``,
``failed`` (an error that the task foresees) or ``broke`` (one that it does not). A child ends when
its input ends, so it cannot outlive its parent. Threads are bounded and the priority is lowered:
on two cores the node must stay responsive while a model works.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from labeling.errors import LabelingError
from plugin.context import Progress
from plugin.errors import ChildFailed, Permanent, PluginError, TaskBroke
from training.errors import TrainingError

Emit = Callable[[str, Any], None]
"""``emit("progress", text)`` or ``emit("item", value)`` inside the child."""


class ChildProcess:
    """One child that runs jobs in turn; use as a context manager.

    Args:
        log: file that takes the child's standard error.
        threads: how many threads its numerical libraries may use.
    """

    def __init__(self, log: Path, threads: int) -> None:
        self._log: IO[bytes] = log.open("ab")
        self._threads = threads
        self._lock = threading.Lock()
        self._process = self._started()

    def __enter__(self) -> ChildProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _started(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "plugin.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=_environment(self._threads),
        )

    def restart(self) -> None:
        """Put a fresh child in the place of this one, which may be dead."""
        with self._lock:
            self._end()
            self._process = self._started()

    @property
    def alive(self) -> bool:
        """Tell whether the child can take another job."""
        return self._process.poll() is None

    def run(self, task: str, job: dict[str, Any], progress: Progress) -> Iterator[Any]:
        """Run a job; yield the items of its result as they come.

        Raises:
            ChildFailed: the child ended without finishing (killed, out of memory).
            TaskBroke: the task met an error that nobody foresaw; the child goes on.
            Permanent: the task refused the job; the message is the task's own.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise ChildFailed("the child process has no pipes")
        with self._lock:
            try:
                stdin.write(json.dumps({"task": task, "job": job}).encode() + b"\n")
                stdin.flush()
            except BrokenPipeError:
                raise ChildFailed(f"the child process for {task} is gone") from None
            for line in stdout:
                if not line.endswith(b"\n"):
                    break  # it was killed while it wrote
                event, value = json.loads(line)
                if event == "progress":
                    progress(value)
                elif event == "item":
                    yield value
                elif event in _ERRORS:
                    raise _ERRORS[event](value)
                else:
                    return
        raise ChildFailed(f"the child process for {task} ended without a result")

    def close(self) -> None:
        """End the child: close its input, then insist."""
        self._end()
        self._log.close()

    def _end(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


_ERRORS: dict[str, type[Permanent]] = {"failed": Permanent, "broke": TaskBroke}


def _environment(threads: int) -> dict[str, str]:
    bounded = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {
        **os.environ,
        **{name: str(threads) for name in bounded},
        # Threads that wait must sleep: a spinning one takes the core from the one it waits for, and
        # on a busy machine a model then runs ten times slower.
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": "0",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def main() -> None:
    """Serve jobs from standard input until it ends."""
    from plugin.tasks import TASKS

    os.nice(10)
    # A person's Ctrl-C reaches the whole group: the parent ends the child as it always does.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Libraries that print must not disturb the protocol: keep the real output to ourselves.
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def emit(event: str, value: Any) -> None:
        output.write(json.dumps([event, value]).encode() + b"\n")
        output.flush()

    jobs = _jobs_until_parent_ends()
    for request in jobs:
        try:
            TASKS[request["task"]](request["job"], emit)
        except Exception as error:
            event = "failed" if isinstance(error, _FORESEEN) else "broke"
            emit(event, _said(error, reads_reports=request["task"] in _READ_REPORTS))
            if os.environ.get("RADLOOP_DEBUG"):
                raise
        else:
            emit("done", None)


_FORESEEN = (LabelingError, TrainingError, PluginError)

_READ_REPORTS = frozenset({"identify_labeler", "label", "student_lessons", "train_student"})
"""Tasks that hold reports and the keys of servers; a library's message may quote what it holds."""


def _said(error: Exception, *, reads_reports: bool) -> str:
    """Return an expected error's own sentence; an unexpected one also says what it was."""
    if isinstance(error, _FORESEEN):
        return str(error)
    if not reads_reports:
        return f"{type(error).__name__}: {error}"
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"unexpected {type(error).__name__} at {Path(last.filename).name}, line {last.lineno}"


def _jobs_until_parent_ends() -> Iterator[Any]:
    """Yield jobs; end the whole process at once when the parent closes the input or dies."""
    import queue

    waiting: queue.Queue[bytes] = queue.Queue()

    def read() -> None:
        for line in sys.stdin.buffer:
            waiting.put(line)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    while True:
        yield json.loads(waiting.get())


if __name__ == "__main__":
    main()
