"""The command that distils a student: a fast labeler that learns from the labels of others."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plugin.cli_calls import JsonOption, NodeOption, StoreOption, show
from plugin.cli_research import labeler as group

if TYPE_CHECKING:
    from labeling.settings import LabelingSettings
    from plugin.stages.distill import Asked, Lessons

_NODE, _FILES, _LEARNING = "From a node", "From files", "How it learns"


OutputOption = Annotated[Path, typer.Option(file_okay=False, help="A new folder for the student.")]
LabelerOption = Annotated[
    str, typer.Option(help="Whose labels are learned, of the node.", rich_help_panel=_NODE)
]
MostOption = Annotated[
    int, typer.Option(min=1, help="Reports at most; drawn.", rich_help_panel=_NODE)
]
LabelsOption = Annotated[
    list[Path] | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        help="JSONL of `radloop label --output`; may stand again.",
        rich_help_panel=_FILES,
    ),
]
ReportsOption = Annotated[
    Path | None,
    typer.Option(exists=True, dir_okay=False, help="Texts of those by id.", rich_help_panel=_FILES),
]
ReferenceOption = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        help="Readers' labels by id, as `reference import` takes them; they win.",
        rich_help_panel=_FILES,
    ),
]
HoldOutOption = Annotated[
    bool,
    typer.Option(
        "--hold-out-references",
        help="Do not learn from reports that readers labelled: they can judge the student.",
    ),
]
GeneratedOption = Annotated[
    int, typer.Option(min=0, help="Generated reports of the schema to learn from, too.")
]
SchemaOption = Annotated[str, typer.Option(help="A shipped schema or a .yaml file.")]
EncoderOption = Annotated[
    str,
    typer.Option(help="Of the model store; see radloop llm add.", rich_help_panel=_LEARNING),
]
LayersOption = Annotated[
    str,
    typer.Option(
        help="Of the encoder, whose outputs are read side by side: -1 the last, 3,-1 two; "
        "default: the middle and the last.",
        rich_help_panel=_LEARNING,
    ),
]
TuneLayersOption = Annotated[
    int,
    typer.Option(
        min=0, help="Last layers of the encoder that learn, too; slow.", rich_help_panel=_LEARNING
    ),
]
EpochsOption = Annotated[int, typer.Option(min=1, help="At most.", rich_help_panel=_LEARNING)]
SeedOption = Annotated[int, typer.Option(help="Of all chance.", rich_help_panel=_LEARNING)]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the command line."""
    group.command("distill")(distill)
    group.command("train-student", hidden=True)(distill)  # its name before; the records hold it


def distill(
    output: OutputOption,
    config: NodeOption = None,
    labeler: LabelerOption = "",
    most: MostOption = 20_000,
    labels: LabelsOption = None,
    reports: ReportsOption = None,
    reference: ReferenceOption = None,
    hold_out_references: HoldOutOption = False,
    generated: GeneratedOption = 0,
    schema: SchemaOption = "",
    encoder: EncoderOption = "all-minilm-l6-v2",
    layers: LayersOption = "",
    tune_layers: TuneLayersOption = 0,
    epochs: EpochsOption = 12,
    seed: SeedOption = 1,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a student on a labeler's labels, and on readers' where they spoke; it reads fast.

    The teacher's labels are those of a node (--config, --labeler) or of files (--labels). A share
    of the patients is kept apart; the figures on it say how well the student follows its teacher
    and replace no evaluation. The folder then enters by radloop llm add. Research use only.
    """
    from plugin.labeling_options import labeling_settings, with_options
    from plugin.stages.distill import Asked
    from plugin.student_training import StudentJob, train_student
    from plugin.tables import progress_line

    settings, folder = labeling_settings(config)
    settings = with_options(settings, folder, schema=schema)
    asked = Asked(labeler, most, seed, hold_out_references)
    job = StudentJob(
        output=output.absolute(),
        settings=settings,
        model_store=(store or folder).absolute(),
        encoder=encoder,
        options={
            "seed": seed,
            "epochs": epochs,
            "tuned_layers": tune_layers,
            "layers": _numbers(layers),
        },
        command=shlex.join(["radloop", *sys.argv[1:]]),
        labels=tuple(each.absolute() for each in labels or ()),
        reports=reports.absolute() if reports else None,
        references=reference.absolute() if reference else None,
        hold_out_references=hold_out_references,
        generated=generated,
        lessons=_lessons(config, asked, settings) if labeler else None,
    )
    with progress_line() as progress:
        show(train_student(job, progress), as_json)


def _numbers(layers: str) -> list[int]:
    try:
        return [int(each) for each in layers.split(",") if each.strip()]
    except ValueError:
        raise typer.BadParameter("--layers takes numbers with commas between: 3,-1") from None


def _lessons(config: Path | None, asked: Asked, settings: LabelingSettings) -> Lessons:
    from labeling.schema_file import schema_of
    from plugin.context import open_for_reading
    from plugin.errors import Permanent
    from plugin.settings import load_settings
    from plugin.stages.distill import lessons_of
    from plugin.stages.ground import ground_of

    if config is None:
        raise typer.BadParameter("--labeler reads a node's labels: --config names the node")
    node = load_settings(config)
    with open_for_reading(node) as session:
        if session is None:
            raise Permanent("the node holds no reports yet")
        return lessons_of(session, asked, schema_of(settings), ground_of(node).name_of)
