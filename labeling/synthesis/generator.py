"""Writes reports of any schema with known truth: drawn from a seed, or given.

The reading by which a text's truth is told stands in ``labeling.synthesis.claims``.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from labeling.synthesis.facts import facts_of
from labeling.synthesis.generated import GeneratedReport, Place, Split
from labeling.synthesis.given import Context, Reader, plan_of, read
from labeling.synthesis.noise import Habits
from labeling.synthesis.plan import draw_plan
from labeling.synthesis.report import STYLES, Layout, Report
from labeling.synthesis.wording_file import load_wording
from labeling.synthesis.writer import Writer
from labeling.vocabulary import LabelSchema, State


def generate(
    schema: LabelSchema,
    count: int,
    *,
    seed: int,
    split: Split = "train",
    language: str = "en",
    wording: Path | None = None,
) -> Iterator[GeneratedReport]:
    """Yield reports of drawn truth; the same arguments give the same reports.

    Args:
        schema: whose observations they speak of.
        count: how many.
        seed: of all chance.
        split: whose phrasings are used.
        language: of the wording that ships.
        wording: a wording file for the schema, in place of one that ships.

    Raises:
        InvalidWording: there is no wording for the language, or a file cannot be used.
    """
    words = load_wording(schema, language, wording)
    for number in range(count):
        name = f"{schema.name}-{split}-{seed}-{number}"
        chance = random.Random(name)
        plan = draw_plan(schema, chance)
        writer = Writer(schema, words, split, chance, telegraphic=chance.random() < 0.6)
        yield Report(writer, plan, None, Layout(STYLES)).written(name)


@dataclass(frozen=True)
class Findings:
    """What a report is to say.

    Args:
        states: by place, present, uncertain, absent or stable; of places without a state the
            report says nothing. Without a state of ``WHOLE``, that of the sites holds.
        severities: by place, the id of the step of the observation's scale. Where none is given,
            no grade is named.
        millimetres: by place, how large it is. Where nothing is given, no size is named.
    """

    states: Mapping[Place, State]
    severities: Mapping[Place, str] = field(default_factory=dict)
    millimetres: Mapping[Place, float] = field(default_factory=dict)


def write(
    schema: LabelSchema,
    findings: Findings,
    *,
    name: str,
    split: Split = "train",
    reader: Reader | None = None,
    context: Context | None = None,
    typing: Habits | None = None,
    styles: Sequence[str] = STYLES,
    opening: str = "",
    concluded: bool = True,
    body_part: str = "",
    language: str = "en",
    wording: Path | None = None,
) -> GeneratedReport:
    """Write a report of given truth; the same arguments give the same report.

    Under one ``name`` all choices stay the same: other findings change the sentences on them and
    leave the others as they were, as the corrected version of a report does.

    Args:
        schema: whose observations it speaks of.
        findings: what is so. The report says no less, but for the reader's habits, and no more of
            any observation; words of place ("left") are the writer's own.
        name: the report's id, and the seed of all chance.
        split: whose phrasings are used.
        reader: what is hedged or left out; None: nothing is.
        context: age, sex and the date of an earlier study; what is not known is not said.
        typing: how the text is typed; None: drawn.
        styles: of which one is drawn.
        opening: words before everything else, which claim nothing.
        concluded: an impression and what follows it may end the report.
        body_part: that it speaks of, where the schema has several.
        language: of the wording that ships.
        wording: a wording file for the schema, in place of one that ships.

    Returns:
        The report; its states are what its text says, with the reader's doubts and omissions.

    Raises:
        InvalidFindings: a place is not of the schema, or findings contradict each other.
        InvalidWording: there is no wording for the language, or a file cannot be used.
    """
    facts = facts_of(schema, findings.states, findings.severities, findings.millimetres)
    words = load_wording(schema, language, wording)
    chance = random.Random(name)
    telegraphic = chance.random() < 0.6
    writer = Writer(schema, words, split, chance, telegraphic, streams=name)
    said = read(facts, reader or Reader(), writer)
    writer = Writer(schema, words, split, chance, telegraphic, said, name)
    plan = plan_of(said, writer, body_part)
    layout = Layout(tuple(styles), opening, concluded)
    return Report(writer, plan, typing, layout, context or Context()).written(name)
