"""An architecture is trained in a child process, alone or by several processes together.

Several are started by ``torchrun``, each computing a part of every batch on a GPU of its own. The
first one writes the files and tells the progress, and all end with the process that started them.

    python -m plugin.architecture_training start|take-part JOB.json
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dicom_node.confinement import end_with_parent
from dicom_node.durable import write_durably
from plugin.errors import ChildFailed, Permanent
from plugin.extensions import load
from training.errors import TrainingError

Say = Callable[[str], None]


def learn(job: dict[str, Any], say: Say) -> dict[str, Any]:
    """Train and write the weights; return the record of it with ``weights_digest``.

    Args:
        job: architecture, members, observations, sites, settings, folders, and provenance.
        say: told one line at a time.

    Raises:
        training.errors.TrainingError: the training refuses the job.
        Permanent: processes that learn together refuse it.
        ChildFailed: one of them ended without a result.
    """
    processes = int(job["settings"]["learning"]["processes"])
    if processes > 1:
        return _together(job, processes, say)
    from training.learning.distributed import ALONE

    return _trained(job, ALONE, say)


def _trained(job: dict[str, Any], group: Any, say: Say) -> dict[str, Any]:
    from training.learning.curves import draw_curves
    from training.learning.experiment import architecture_of, train_architecture
    from training.learning.weights import save_network
    from training.settings import TrainingSettings

    settings = TrainingSettings.model_validate(job["settings"])
    trained = train_architecture(
        architecture_of(job["architecture"], settings),
        job["members"],
        job["observations"],
        job["sites"],
        settings,
        (Path(job["prepared_folder"]), Path(job["trainings_folder"])),
        say,
        group=group,
        localiser=load("disc_localisers", settings.disc_localiser),
    )
    if not group.leads:
        return {}
    folder = Path(job["weights_folder"])
    unnamed = folder / f"new-{os.getpid()}.safetensors"
    digest = save_network(
        unnamed,
        trained.learned,
        input_shape=trained.input_shape,
        preparation=trained.preparation,
        thresholds=trained.record["thresholds"],
        provenance=job["provenance"],
        domain=trained.domain,
    )
    draw_curves(
        trained.learned.curve,
        trained.learned.best_epoch,
        folder / f"{digest}.png",
        f"{job['architecture']}, cohort {job['provenance']['cohort'][:12]}",
    )
    unnamed.replace(folder / f"{digest}.safetensors")
    return {**trained.record, "weights_digest": digest}


def _together(job: dict[str, Any], processes: int, say: Say) -> dict[str, Any]:
    """Start processes that learn together, pass their lines on, and return the first's record."""
    with tempfile.TemporaryDirectory(dir=job["trainings_folder"]) as folder:
        path = Path(folder) / "job.json"
        write_durably(path, json.dumps(job).encode())
        starter = [sys.executable, "-m", "plugin.architecture_training", "start", str(path)]
        with subprocess.Popen([*starter, str(processes)], stdout=subprocess.PIPE, text=True) as run:
            if run.stdout is not None:
                for line in run.stdout:
                    say(line.rstrip("\n"))
        answer = path.with_name("answer.json")
        if not answer.exists():
            raise ChildFailed("processes that learned together ended without a result")
        told: dict[str, Any] = json.loads(answer.read_bytes())
    if "refused" in told:
        raise Permanent(told["refused"])
    return told


def _start(path: Path, processes: int) -> None:
    """Run ``torchrun`` in this process; its rendezvous is on this machine alone."""
    from torch.distributed.run import main

    arguments = ["--standalone", "--nproc-per-node", str(processes)]
    main([*arguments, "--module", "plugin.architecture_training", "take-part", str(path)])


def _take_part(path: Path) -> None:
    """Learn with the others; the first writes the answer beside the job."""
    from training.learning.distributed import joined

    job = json.loads(path.read_bytes())
    with joined(device=job["settings"]["learning"]["device"]) as group:
        try:
            told = _trained(job, group, _print if group.leads else _mute)
        except TrainingError as error:
            told = {"refused": str(error)}
        if group.leads:
            write_durably(path.with_name("answer.json"), json.dumps(told).encode())


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _mute(_: str) -> None:
    """Let the first process speak."""


def main() -> None:
    """Start processes that learn together, or be one of them."""
    end_with_parent()
    role, path = sys.argv[1], Path(sys.argv[2])
    if role == "start":
        _start(path, int(sys.argv[3]))
    else:
        _take_part(path)


if __name__ == "__main__":
    main()
