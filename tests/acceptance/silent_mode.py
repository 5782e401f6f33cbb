"""Silent mode on a node of simulated studies: another scanner comes half way, and must show.

    python -m tests.acceptance.silent_mode [--studies 300] [--teaching 60] [--out FOLDER]

Everything is SIMULATED: spines, scanners, readers, reports. Two versions of a classifier are
trained through the node's own stages on studies of one scanner; readers' labels of the held-out
patients are the drawn truth. Version 2 then predicts in silence on studies that arrive one after
another, of the same scanner for the first half and of another one from there on; each report comes
after its prediction and is read by the labeler by rules. Objects and messages enter through the
store, the index and the filing of messages; no socket is opened.

Promised, and told by the exit status: the monitor raises no alarm before the change and one after
it that names the new scanner; nothing of the silent model becomes a structured report; the gate
refuses to promote it and says why; a person can override that, which is recorded; a rollback
restores the version that was live before. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from rich.console import Console
from sqlmodel import col, func, select

from dicom_node.indexing import index_spool
from dicom_node.messages import receive as file_messages
from dicom_node.models import Link, Transmission
from dicom_node.storage import DicomStore
from labeling.schema_file import shipped_schema
from labeling.synthesis.generator import write
from plugin.context import Context, open_context
from plugin.errors import Permanent
from plugin.linking import study_linker
from plugin.operations import run_operation
from plugin.questions import ask
from plugin.settings import load_settings
from plugin.settings_template import render
from plugin.simulation import phantom
from plugin.simulation.dicom_objects import Equipment
from plugin.simulation.findings import findings_of
from plugin.simulation.spines import ImagedSpine
from plugin.simulation.truth import LEVELS, OBSERVATIONS, SpineTruth, draw_truth
from plugin.stages.complete import complete_study
from plugin.tables import print_result
from tests.builders import MEMORY_DISK, received, uid
from tests.cohort_builders import add_reference
from tests.hl7_builders import oru
from tests.phantom_studies import images_of
from training import errors
from training.models import Model, Prediction

_NAME = "simulated-discs"
_ISSUER = "SIMNORTH"
_FIRST, _OTHER = (replace(phantom.SCANNERS[i], slices=7) for i in (0, 2))
_SEED = 8
_TESTED = 3  # one teaching study in so many is read by the simulated reader
_SETTINGS = f"""
[monitor]
reference_studies = $reference
newest_studies = $newest

[[hl7.feeds]]
name = "simulated-north"
sender = "SIMRIS|NORTH"

[[prediction]]
model = "{_NAME}"
modality = "MR"
body_part = "LSPINE"
series_description = "T2"
"""


@dataclass
class Stream:
    """The simulated house: what it has sent, and how many studies."""

    context: Context
    sent: int = 0
    reports: dict[str, bytes] = field(default_factory=dict)

    def send(self, count: int, scanner: phantom.Scanner) -> list[tuple[str, SpineTruth]]:
        """Have studies arrive and be complete; their reports wait in ``reports``."""
        store = DicomStore(self.context.folder.root)
        arrived = []
        for _ in range(count):
            self.sent += 1
            rng = np.random.default_rng([_SEED, self.sent])
            truth, anatomy = draw_truth(rng), phantom.draw_anatomy(rng)
            series = phantom.draw_series(truth, scanner, "T2", anatomy, rng)
            name = f"silent {self.sent}"
            for each in images_of(
                series,
                scanner,
                patient=f"SIM{self.sent}",
                study=name,
                AccessionNumber=f"SIM{self.sent}",
                IssuerOfPatientID=_ISSUER,
                StudyDate="20260228",
            ):
                store.store(received(each))
            study = uid("study", name)
            self.reports[study] = _report(self.sent, study, truth)
            arrived.append((study, truth))
        context = self.context
        linker = study_linker(context)
        index_spool(context.database, store, context.settings.dicom, context.clock, linker)
        for study, _ in arrived:
            complete_study(context, study, by="simulation", reason="all images are there")
        return arrived

    def report(self, studies: list[tuple[str, SpineTruth]]) -> None:
        """Have the reports of studies arrive and be read."""
        context = self.context
        for study, _ in studies:
            file_messages(
                context.database,
                self.reports.pop(study),
                profiles=context.profiles,
                linking=context.linking(),
                clock=context.clock,
            )
        run_operation(context, "label", {"labeler": "rules"}, _mute)


def _report(number: int, study: str, truth: SpineTruth) -> bytes:
    equipment = Equipment("Simulated", "Simulated", 1.5)  # of no matter to the words
    spine = ImagedSpine(truth, equipment, "SIMULATED", list)
    text = write(shipped_schema("spine"), findings_of(spine), name=f"silent {number}").text
    return oru(
        control_id=f"SIM{number}",
        sender="SIMRIS|NORTH",
        charset="UNICODE UTF-8",
        patient=f"SIM{number}^^^{_ISSUER}^MR",
        name=f"Test^SIM{number}",
        placer=f"P{number}",
        filler=f"F{number}",
        accession=f"SIM{number}",
        lines=[line.replace("|", " ").replace("^", " ") for line in text.splitlines() if line],
        study_uids=[study],
    )


def _teach(stream: Stream, count: int) -> list[str]:
    """Have studies arrive, be reported and read, and train two versions on them."""
    context = stream.context
    studies = stream.send(count, _FIRST)
    with context.database.write() as session:
        for study, truth in studies[::_TESTED]:
            states = {
                (name, level): "present" if truth.present(name, level) else "absent"
                for name in OBSERVATIONS
                for level in LEVELS
            }
            add_reference(session, study, states, reader="simulated reader")
    stream.report(studies)
    with context.database.read() as session:
        linked = session.exec(select(func.count()).where(Link.state == "confirmed")).one()
    _say(f"taught by {count} studies, {linked} confirmed links")
    accepted = ("uncalibrated", "unqualified")
    asked = {"name": "silent", "labeler": "rules", "accepted": accepted}
    run_operation(context, "cohort freeze", asked, _mute)
    made = []
    for epochs in (12, 40):
        few = {"maximum_epochs": epochs, "batch_size": 16, "learning_rate": 2e-3, "patience": 16}
        training = context.settings.training.model_copy(update=few)
        settings = context.settings.model_copy(update={"training": training})
        asked = {"cohort": "silent", "name": _NAME}
        done = run_operation(replace(context, settings=settings), "train", asked, _mute)
        made.append(done["model"])
        figures = done["test"]["observations"].items()
        lows = {name: each["auroc"]["low"] for name, each in figures}
        _say(f"{done['model']}: lower bounds of AUROC {lows}")
    return made


def _arrive(stream: Stream, count: int, scanner: phantom.Scanner) -> None:
    """Have studies arrive, be predicted in silence, and only then be reported."""
    studies = stream.send(count, scanner)
    done = run_operation(stream.context, "predict", {"now": False}, _mute)
    stream.report(studies)
    _say(f"{count} studies of {scanner.manufacturer}, {done['predicted']} predicted in silence")


def _decide(context: Context, command: str, **arguments: Any) -> dict[str, Any]:
    given = {"by": "simulated physicist", "reason": "acceptance", **arguments}
    return run_operation(context, command, given, _mute)


def _promote(context: Context, model: str, *accept: str) -> dict[str, Any]:
    """Ask for a promotion; return what came of it, with the ``refusal`` where it was refused."""
    try:
        done = _decide(context, "promote", model=model, accept=list(accept))
    except (Permanent, errors.Permanent) as refused:
        return {"refusal": str(refused), "accepted": []}
    return {"refusal": "", **done}


def _live(context: Context) -> str:
    rows = ask(context.settings, "models", {})["models"]
    return ", ".join(each["model"] for each in rows if each["stage"] == "live")


def _sent(context: Context, model: str) -> tuple[int, int, int]:
    """Return predictions of a model, those not stored as silent, and structured reports at all."""
    version = int(model.rpartition(":")[2])
    with context.database.read() as session:
        rows = session.exec(
            select(Prediction)
            .join(Model, col(Model.id) == col(Prediction.model_id))
            .where(Model.version == version)
        ).all()
        queued = len(session.exec(select(Transmission)).all())
    files = len(list(context.folder.reports.glob("*.dcm")))
    spoken = sum(row.stage != "silent" or bool(row.sop_instance_uid) for row in rows)
    return len(rows), spoken, queued + files


def run(context: Context, studies: int, teaching: int, out: Path) -> dict[str, Any]:
    """Play everything; return what was found, with the promises that were kept."""
    stream = Stream(context)
    first, second = _teach(stream, teaching)
    _decide(context, "models silence", model=second)
    half = studies // 2
    _arrive(stream, half, _FIRST)
    asked = {"model": second, "output": str(out)}
    before = ask(context.settings, "model monitor", asked)
    _arrive(stream, studies - half, _OTHER)
    after = ask(context.settings, "model monitor", asked)
    predictions, spoken, reports = _sent(context, second)
    allowed = _promote(context, first)
    refused = _promote(context, second)["refusal"]
    live = [_live(context)]
    overridden = _promote(context, second, "drift")
    live.append(_live(context))
    back = _decide(context, "models rollback", name=_NAME) if live[1] == second else {}
    live.append(_live(context))
    events = ask(context.settings, "model history", {"name": _NAME})["events"]
    other = f"{_OTHER.manufacturer} {_OTHER.manufacturer_model_name}"
    promises = {
        "studies were watched": before["studies"] >= 0.95 * half and before["state"] == "watched",
        # Of the other scanner the model may abstain on all: then nothing of it is compared.
        "reports were compared": before["compared"] >= 0.85 * half,
        "no alarm before the change": not before["alarms"] and not before["new_scanners"],
        "an alarm after it": bool(after["alarms"]) and after["new_scanners"] == [other],
        "nothing of it was sent": predictions > 0 and spoken == 0 and reports == 0,
        "the gate lets the first version through": allowed["refusal"] == "",
        "it refuses the drifting one": "reports drift" in refused and live[0] == first,
        "a person may override": overridden["accepted"] == ["drift"] and live[1] == second,
        "rollback restores": live[2] == first == back.get("model")
        and back["in_place_of"] == second,
        "all is recorded": "rollback from version 2" in events[-1]["how"]
        and any(each["accepted"] == ["drift"] for each in events),
    }
    return {
        "simulated": True,
        "studies": after["studies"],
        "compared": after["compared"],
        "left_out": after["left_out"],
        "alarms_before": before["alarms"],
        "alarms_after": after["alarms"],
        "new_scanners": after["new_scanners"],
        "first": allowed,
        "refusal": refused,
        "agreement": after["agreement"],
        "drift": after["drift"],
        "files": after["files"],
        "promises": promises,
    }


@contextmanager
def _node(studies: int) -> Iterator[Context]:
    # Two thirds and one third of the first half: for 300 studies, what a node has by default.
    windows = {"reference": max(10, studies // 3), "newest": max(10, studies // 6)}
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK) as folder:
        path = Path(folder) / "radloop.toml"
        text = render().replace(
            "observations = []", f"observations = {json.dumps(list(OBSERVATIONS))}", 1
        )
        path.write_text(text + Template(_SETTINGS).substitute(windows), encoding="utf-8")
        with open_context(load_settings(path)) as context:
            DicomStore(context.folder.root).recover()
            yield context


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _mute(_: str) -> None:
    """Say nothing of single steps."""


def main() -> int:
    """Run from the command line; return the exit status."""
    parser = argparse.ArgumentParser(description="Silent mode on simulated studies.")
    parser.add_argument("--studies", type=int, default=300)
    parser.add_argument("--teaching", type=int, default=60)
    parser.add_argument("--out", type=Path, default=Path("silent-mode"))
    asked = parser.parse_args()
    began = time.monotonic()
    with _node(asked.studies) as context:
        found = run(context, asked.studies, asked.teaching, asked.out.absolute())
    found["seconds"] = round(time.monotonic() - began)
    shown = {
        **found,
        "promises": {k: "kept" if v else "BROKEN" for k, v in found["promises"].items()},
    }
    print_result(shown, Console(width=160))
    print(json.dumps(found))
    return 0 if all(found["promises"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
