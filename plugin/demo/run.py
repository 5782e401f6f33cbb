"""The demonstration from start to end: every stage must do its work, or the exit status says so."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console
from sqlmodel import Session

from dicom_node.archive_settings import PacsPeer
from dicom_node.durable import write_durably
from plugin.context import open_for_reading
from plugin.demo.checks import check_labels, check_links
from plugin.demo.display import Display
from plugin.demo.feed import Hospital
from plugin.demo.node import DemoNode, wait_until
from plugin.demo.readers import read_samples
from plugin.demo.results import render_reports, render_study
from plugin.demo.settings import MODEL_NAME, choose_ports, write_settings
from plugin.demo.tables import print_summary
from plugin.errors import Permanent
from plugin.settings import load_settings
from plugin.simulation.hospital import HospitalPlan, plan_hospital
from plugin.simulation.pacs import Pacs, start_pacs

_MARK = ".radloop-demo"
_COHORT = "demo"
_LANGUAGE_MODEL = "token_scores"
_LABELERS = ("rules", _LANGUAGE_MODEL)
_TIMED = 8  # reports that are read again for the verdict
_ARCHIVE_AE_TITLE = "DEMOPACS"


@dataclass
class _Demo:
    out: Path
    plan: HospitalPlan
    node: DemoNode
    archive: Pacs
    display: Display
    hospital: Hospital
    summary: dict[str, Any] = field(default_factory=dict)


def run_demo(out: Path, *, patients: int, images: Path | None, seed: int) -> int:
    """Run the loop on a simulated hospital; return 0 only if every stage did its work.

    Args:
        out: where everything goes; an earlier demonstration there is replaced.
        patients: how many patients the hospital has.
        images: a folder of real slices to wrap as DICOM; None draws phantoms.
        seed: of the hospital.

    Raises:
        Permanent: ``out`` holds something that is not a demonstration.
    """
    # A terminated demonstration must end its node and archive, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console = Console()
    if not console.is_terminal:
        console = Console(width=120)
    console.print("[bold]radloop[/]: the whole loop on a simulated hospital. Research use only.")
    _clear(out)
    with ExitStack() as stack:
        display = stack.enter_context(Display(console))
        demo = _start(stack, display, out, patients, images, seed)
        for stage in (_send, _link, _label, _qualify, _train, _predict, _render):
            stage(demo)
    demo.summary["seconds"] = display.seconds
    problems = find_problems(demo.summary)
    demo.summary["problems"] = problems
    (out / "summary.json").write_text(json.dumps(demo.summary, indent=2), encoding="utf-8")
    print_summary(demo.summary, console)
    for problem in problems:
        console.print(f"[red]not as it should be:[/] {problem}")
    _print_paths(out, console)
    return 1 if problems else 0


def find_problems(summary: dict[str, Any]) -> list[str]:
    """Return what a stage did not do; empty when the loop ran as it should."""
    links, reports, sr = summary["links"], summary["reports"], summary["sr"]
    checks = (
        (summary["instances"] != summary["sent"]["instances"], "an acknowledged image is missing"),
        (summary["messages"] != summary["sent"]["messages"], "an acknowledged message is missing"),
        (links["wrong"] > 0, "a report is linked to a study that is not its own"),
        (links["missing"] > 0, "a report is not linked to its study"),
        (
            reports["unlinked_expected"] != reports["sent_to_stay_unlinked"],
            "a report that must stay unlinked is linked",
        ),
        (not all(summary["labels"].get(name) for name in _LABELERS), "a labeler gave no labels"),
        (summary["cohort"]["members"] == 0, "the cohort is empty"),
        (not summary["classifier"]["auroc"], "the classifier was not evaluated"),
        (sr["predicted_studies"] == 0, "no study was predicted"),
        (sr["delivered"] != sr["predicted_studies"], "a structured report was not delivered"),
        (sr["outside_their_study"] > 0, "a structured report lies outside its study"),
    )
    return [problem for applies, problem in checks if applies]


def _clear(out: Path) -> None:
    if out.exists() and any(out.iterdir()):
        if not (out / _MARK).exists():
            raise Permanent(f"{out} is not empty and not a demonstration; choose another --out")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / _MARK).write_text("radloop demo puts its results here and replaces them\n")


def _start(
    stack: ExitStack, display: Display, out: Path, patients: int, images: Path | None, seed: int
) -> _Demo:
    with display.stage("node", "starting an archive and the node") as say:
        plan = plan_hospital(seed, patients=patients, images=images)
        archive = start_pacs(out / "archive", _ARCHIVE_AE_TITLE)
        stack.callback(archive.stop)
        ports = choose_ports()
        config = write_settings(out / "node", ports, archive.ae_title, archive.port)
        # A real node draws its own secret; here the same seed must give the same folds.
        data = config.parent / "data"
        data.mkdir(mode=0o700, exist_ok=True)
        write_durably(data / "patient_key_salt", f"demonstration {seed}".encode())
        node = DemoNode(config, out / "node" / "node.log")
        stack.callback(node.stop)
        added = node.command("llm", "add", "embedded")
        node.start()
        say(f"RADLOOP receives images on {ports.dicom}, HL7 on {ports.hl7}; {archive.description}")
    peer = PacsPeer(name="node", ae_title="RADLOOP", port=ports.dicom)
    pacs = PacsPeer(name="archive", ae_title=archive.ae_title, port=archive.port)
    hospital = Hospital(plan, peer, ports.hl7, pacs, out / "hospital")
    demo = _Demo(out, plan, node, archive, display, hospital)
    demo.summary |= {
        "research_use_only": True,
        "simulated": True,
        "images": "real slices, simulated pairing with reports" if images else "phantom",
        "archive": archive.description,
        "language_model": added,
        "seed": seed,
        "patients": patients,
    }
    return demo


def _send(demo: _Demo) -> None:
    with demo.display.stage("send", "the hospital sends") as say:
        sent = demo.hospital.send_everything(say)
    shutil.rmtree(demo.out / "hospital", ignore_errors=True)
    demo.summary["sent"] = {**asdict(sent), "acknowledgements": dict(sent.acknowledgements)}


def _link(demo: _Demo) -> None:
    with demo.display.stage("link", "indexing and linking") as say:
        wait_until(
            lambda: demo.node.status()["instances"] >= demo.hospital.sent.instances,
            300,
            "the index",
        )
        status = demo.node.status()
        with _read(demo) as session:
            check = check_links(session, demo.plan)
        demo.summary |= {key: status[key] for key in ("studies", "instances", "messages")}
        demo.summary["links"] = {
            "by_state": status["links"],
            "confirmed": check.confirmed,
            "wrong": check.wrong,
            "missing": check.missing,
        }
        demo.summary["reports"] = {
            "versions": status["reports"],
            "unlinked_expected": check.unlinked_expected,
            "sent_to_stay_unlinked": len(demo.plan.expected_unlinked),
            "unlinked": status["unlinked"],
        }
        say(
            f"{status['instances']:,} instances in {status['studies']} studies, "
            f"{check.confirmed} links, {check.wrong} wrong, "
            f"{check.unlinked_expected} reports rightly unlinked"
        )


def _label(demo: _Demo) -> None:
    demo.summary["labels"] = {}
    with demo.display.stage("reference", "simulated readers read a drawn sample") as say:
        read = read_samples(demo.node, demo.plan, demo.out / "reference")
        demo.summary["reference"] = {"simulated": True, **read}
        report, image = read["report"], read["image"]
        say(
            f"{report['n']} of {report['frame']} reports and {image['n']} studies drawn; "
            f"{report['labels'] + image['labels']:,} labels of simulated readers, "
            f"{report['adjudicated'] + image['adjudicated']} adjudicated"
        )
    _read_by(demo, "rules")
    with demo.display.stage("calibrate", "fitting the language model's thresholds") as say:
        fitted = demo.node.command(
            *("labeler", "calibrate", "--labeler", _LANGUAGE_MODEL, "--now", "--by", "demo"),
            progress=say,
        )
        say(f"thresholds of {len(fitted['thresholds'])} conditions on {fitted['reports']} reports")
    done = _read_by(demo, _LANGUAGE_MODEL)
    demo.summary["qualification"] = {"uncalibrated": done["uncalibrated"]}


def _read_by(demo: _Demo, labeler: str) -> dict[str, Any]:
    with demo.display.stage(labeler, f"{labeler} reads the reports") as say:
        done = demo.node.command("label", "--labeler", labeler, progress=say)
        with _read(demo) as session:
            found = check_labels(session, demo.plan, labeler)
        demo.summary["labels"][labeler] = found
        means = [row["balanced_accuracy"] for row in found.values()]
        mean = f"{fmean(means):.2f}" if means else "-"
        say(
            f"{done['reports']} reports, {done['labels']:,} labels; balanced accuracy "
            f"against the texts {mean}"
        )
    return done


def _qualify(demo: _Demo) -> None:
    """Judge the language model beside the rules, by the reader's labels."""
    with demo.display.stage("qualify", "judging the language model") as say:
        demo.summary["labeler"] = _trainer(demo)
        verdict = demo.node.command(
            # Status 1 says "not qualified", and the verdict says why.
            *("labeler", "qualify", "--labeler", _LANGUAGE_MODEL, "--timed", str(_TIMED)),
            *("--by", "demo"),
            progress=say,
            statuses=(0, 1),
        )
        demo.summary["qualification"] |= {
            "qualified": verdict["qualified"],
            "failings": [each["why"] for each in verdict["failings"]],
        }
        judged = "qualified" if verdict["qualified"] else "not qualified, accepted for a demo"
        say(f"labels by {_LANGUAGE_MODEL}: {judged}")


def _trainer(demo: _Demo) -> dict[str, Any]:
    """Return whose labels train, and how they and the rules' agree with the simulated reader.

    A site would take the better one, which the agreement names; this shows what the language model
    is worth. The readers' labels fitted its thresholds, so each report is judged by thresholds of
    other patients.
    """
    found = demo.node.command("labeler", "agreement")
    means = found["mean_balanced_accuracy"].items()
    figures = ", ".join(f"{name} {mean:.2f}" for name, mean in sorted(means))
    reason = (
        f"{_LANGUAGE_MODEL}, the embedded language model with its adapter; mean balanced accuracy "
        f"on simulated readers' labels of training patients, by thresholds of other patients: "
        f"{figures}; a site would take {found['chosen']}"
    )
    return {**found, "better": found["chosen"], "chosen": _LANGUAGE_MODEL, "reason": reason}


def _train(demo: _Demo) -> None:
    with demo.display.stage("cohort", "freezing a cohort") as say:
        judged = demo.summary["qualification"]
        accepted = [] if judged["qualified"] else ["--accept-unqualified"]
        accepted += ["--accept-uncalibrated"] if judged["uncalibrated"] else []
        chosen = demo.summary["labeler"]["chosen"]
        cohort = demo.node.command(
            "cohort", "freeze", _COHORT, "--labeler", chosen, *accepted, progress=say
        )
        demo.summary["cohort"] = cohort
        said = f" ({cohort['accepted']})" if cohort["accepted"] else ""
        say(f"{cohort['members']} members, labels by {chosen}{said}")
    with demo.display.stage("train", "training on the cohort") as say:
        trained = demo.node.command("train", _COHORT, "--name", MODEL_NAME, progress=say)
        observations = trained["test"]["observations"]
        demo.summary["classifier"] = {
            "model": trained["model"],
            "auroc": {name: row["auroc"]["value"] for name, row in observations.items()},
            "observations": observations,
            "not_used": trained["not_used"],
        }
        promoted = demo.node.command(
            *("models", "promote", MODEL_NAME, "--reason", "demonstration", "--by", "demo"),
            # So few patients pass no gate; the demonstration shows all that a model can say.
            *("--accept", "auroc", "--accept", "positives", "--accept", "domain"),
        )
        demo.summary["classifier"]["gate"] = {
            key: promoted[key] for key in ("spoken", "missing", "accepted")
        }
        values = demo.summary["classifier"]["auroc"].items()
        said = ", ".join(f"{name} {value:.2f}" for name, value in values if value is not None)
        say(f"{trained['model']} is live; AUROC on held-out patients: {said}")


def _predict(demo: _Demo) -> None:
    awaiting = len(demo.plan.awaiting)
    with demo.display.stage("predict", "predicting on studies without a report") as say:

        def finished() -> bool:
            status = demo.node.status()
            states = status["transmissions"]
            say(f"structured reports: {states or 'none yet'} of {awaiting}")
            ended = states.get("delivered", 0) + states.get("failed", 0)
            return bool(ended >= awaiting)

        wait_until(finished, 180, "the structured reports")
        held = demo.archive.received("SR")
        inside = {each.study_instance_uid for each in held} & demo.plan.awaiting
        sent = demo.node.command("sr", "list")["reports"]
        demo.summary["sr"] = {
            "predicted_studies": len(sent),
            "delivered": len(held),
            "states": demo.node.status()["transmissions"],
            "outside_their_study": len(held) - len(inside),
        }
        say(f"{len(held)} structured reports in the archive, one for each of {len(inside)} studies")


def _render(demo: _Demo) -> None:
    with demo.display.stage("render", "rendering reports and pictures") as say:
        count = render_reports(demo.node.command("sr", "list")["reports"], demo.out / "reports")
        settings = load_settings(demo.node.config)
        render_study(settings, demo.summary["classifier"]["observations"], demo.out / "pictures")
        say(f"{count} reports as text and HTML, pictures")


@contextmanager
def _read(demo: _Demo) -> Iterator[Session]:
    """The node's tables, read beside the running node."""
    with open_for_reading(load_settings(demo.node.config)) as session:
        if session is None:
            raise Permanent("the node has no database")
        yield session


def _print_paths(out: Path, console: Console) -> None:
    console.print("look at:")
    for name in ("summary.json", "pictures", "reports", "node/radloop.toml", "node/node.log"):
        console.print(f"  {out / name}")
