"""Writes reports of any schema with known truth, from a seed.

The reading by which a text's truth is told stands in ``labeling.synthesis.claims``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from labeling.synthesis.claims import Statement, truth_of
from labeling.synthesis.composing import Composer
from labeling.synthesis.generated import GeneratedReport, Split
from labeling.synthesis.noise import draw_habits
from labeling.synthesis.nouns import capitalised
from labeling.synthesis.paper import Paper
from labeling.synthesis.plan import Plan, draw_plan
from labeling.synthesis.wording_file import Wording, load_wording
from labeling.vocabulary import LabelSchema

_BULLETS = ("\n- ", "\n# ", "\n#. ", "\n* ")
_LISTS = ((": ", "\n"), (": ", "\n"), (" - ", "\n"), (":\n", "\n\n"), (": ", " "))
"""What follows the name of a site in a list, and what parts its entries."""

_MONTHS = ("January", "March", "May", "June", "August", "October", "December")


def generate(
    schema: LabelSchema,
    count: int,
    *,
    seed: int,
    split: Split = "train",
    language: str = "en",
    wording: Path | None = None,
) -> Iterator[GeneratedReport]:
    """Yield reports; the same arguments give the same reports.

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
        yield _Report(schema, words, split, seed, number).written()


class _Report:
    """One report by one writer."""

    def __init__(
        self, schema: LabelSchema, wording: Wording, split: Split, seed: int, number: int
    ) -> None:
        self._id = f"{schema.name}-{split}-{seed}-{number}"
        self._chance = chance = random.Random(self._id)
        self._schema, self._wording, self._split = schema, wording, split
        self._plan: Plan = draw_plan(schema, chance)
        self._composer = Composer(
            schema, wording, split, chance, self._plan, telegraphic=chance.random() < 0.6
        )
        common = wording.common
        self._paper = Paper(
            draw_habits(chance),
            chance,
            frozenset(common.vocabulary["protected"]),
            {**common.abbreviations, **wording.own.abbreviations},
        )

    def written(self) -> GeneratedReport:
        """Return the report with what its text says."""
        styles = {name: share for name, (_, share) in _STYLES.items()}
        if not self._schema.sites:
            del styles["by_site"]
        style = self._chance.choices(tuple(styles), tuple(styles.values()))[0]
        _STYLES[style][0](self)
        truth = truth_of(self._schema, self._paper.written)
        return GeneratedReport(
            id=self._id,
            text=self._paper.text,
            states=truth.states,
            severities=truth.severities,
            locations=truth.locations,
            evidence=truth.evidence,
            split=self._split,
            style=style,
        )

    # Styles

    def terse(self) -> None:
        """A note of one paragraph or one line a sentence."""
        said = self._composer.findings() or self._composer.normal_study()
        self._scatter(said, self._chance.choice((0, 1, 2, 3)))
        if self._chance.random() < 0.2:
            self._head("findings")
        self._paper.say_all(said, self._between())

    def impression(self) -> None:
        """Nothing but an impression."""
        said = self._composer.findings() or self._composer.normal_study()
        self._head("impression")
        self._paper.say_all(said, self._between())

    def clinical(self) -> None:
        """A report with headings, in their usual or another order."""
        self._opening(share=0.75)
        self._head("findings")
        said = self._composer.findings() or self._composer.normal_study()
        self._scatter(said, self._chance.choice((1, 2, 3, 4, 5)))
        self._paper.say_all(said, self._between())
        self._ending(share=0.85)

    def by_site(self) -> None:
        """Findings listed site by site."""
        self._opening(share=0.4)
        # What follows another section without a heading would belong to it.
        if self._paper.text or self._chance.random() < 0.5:
            self._head("findings")
        listed = self._composer.by_site()
        beside = self._composer.unplaced() + self._composer.distractors(
            self._chance.choice((0, 1, 2, 3))
        )
        after, apart = self._chance.choice(_LISTS)
        # Below an open list it would read as if it belonged to the last site.
        first = after.endswith("\n") or apart == " " or self._chance.random() < 0.5
        if first and beside:
            self._paper.say_all(beside, self._paper.between)
            self._paper.blank("\n")
        for number, (sites, said) in enumerate(listed):
            self._paper.blank(apart if number else "")
            if sites:
                name = self._composer.sentences.names.names(sites)
                self._paper.heading(capitalised(name) + after)
            self._paper.say_all(said, self._paper.between)
        if beside and not first:
            self._paper.blank("\n\n")
            self._paper.say_all(beside, self._paper.between)
        if not (listed or beside):
            self._paper.say_all(self._composer.normal_study(), self._paper.between)
        self._ending(share=0.5)

    def narrative(self) -> None:
        """Paragraphs without headings."""
        said = self._composer.findings() or self._composer.normal_study()
        self._scatter(said, self._chance.choice((2, 3, 4, 5)))
        half = len(said) // 2
        for part in (said[:half], said[half:]):
            if part and self._paper.text:
                self._paper.blank("\n\n")
            self._paper.say_all(part, self._paper.between)

    # Parts

    def _opening(self, share: float) -> None:
        if self._chance.random() < 0.4:
            title = self._chance.choice(self._wording.common.vocabulary["titles"])
            self._paper.heading(title.format(study=self._plan.study))
            self._paper.blank("\n\n")
        sections: list[tuple[str, Callable[[], str]]] = [
            ("history", self._history),
            ("technique", self._technique),
            ("comparison", self._comparison),
        ]
        if self._chance.random() < 0.2:
            self._chance.shuffle(sections)
        for kind, text in sections:
            if self._chance.random() < share:
                self._head(kind)
                self._paper.say(Statement(capitalised(text())))
                self._paper.blank(self._chance.choice(("\n", "\n\n")))

    def _ending(self, share: float) -> None:
        if self._chance.random() < share:
            said = self._composer.summary()
            if said:
                self._paper.blank(self._chance.choice(("\n", "\n\n")))
                self._head("impression")
                self._paper.say_all(said, self._between())
        if self._chance.random() < 0.1:
            self._paper.blank("\n\n")
            self._head("recommendation")
            self._paper.say(Statement(capitalised(self._frame("recommendations"))))
        if self._chance.random() < 0.08:
            self._paper.blank("\n\n")
            self._head("addendum")
            self._paper.say_all(self._composer.addendum(), self._paper.between, addendum=True)
        elif self._chance.random() < 0.1:
            self._paper.blank("\n\n")
            self._paper.say(Statement(self._frame("closings")))

    def _head(self, kind: str) -> None:
        known = self._wording.common.vocabulary[f"headings_{kind}"]
        magnetic = self._schema.modality == "MR"
        heading = self._chance.choice([each for each in known if magnetic or "MRI" not in each])
        self._paper.heading(heading)
        alone = not heading.endswith(":") or self._chance.random() < 0.5
        self._paper.blank("\n" if alone else " ")

    def _scatter(self, said: list[Statement], count: int) -> None:
        for each in self._composer.distractors(count):
            said.insert(self._chance.randrange(len(said) + 1), each)

    def _between(self) -> str:
        drawn = self._chance.random() * self._paper.apart
        if drawn < 0.6:
            return self._paper.between
        return "\n" if drawn < 0.8 else self._chance.choice(_BULLETS)

    def _history(self) -> str:
        own = self._wording.own.histories.of(self._split)
        common = self._wording.common.frames["histories"].of(self._split)
        return self._silent(
            self._chance.choice(own if own and self._chance.random() < 0.5 else common)
        )

    def _technique(self) -> str:
        own = self._composer.technique()
        if own and self._chance.random() < 0.8:
            return own
        return self._frame("techniques")

    def _comparison(self) -> str:
        return self._frame("comparisons")

    def _frame(self, kind: str) -> str:
        return self._silent(self._chance.choice(self._wording.common.frames[kind].of(self._split)))

    def _silent(self, template: str) -> str:
        """Fill in a sentence that never labels."""
        observation = self._chance.choice(self._plan.observations)
        day, year = self._chance.randint(1, 28), self._chance.randint(2010, 2025)
        return template.format(
            np=self._composer.sentences.nouns.bare(observation).text,
            age=self._chance.randint(18, 92),
            sex=self._chance.choice(("male", "female", "man", "woman")),
            date=f"{day} {self._chance.choice(_MONTHS)} {year}",
            study=self._plan.study,
        )


_STYLES: Mapping[str, tuple[Callable[[_Report], None], float]] = {
    "terse": (_Report.terse, 0.3),
    "clinical": (_Report.clinical, 0.35),
    "by_site": (_Report.by_site, 0.15),
    "narrative": (_Report.narrative, 0.12),
    "impression": (_Report.impression, 0.08),
}
"""How reports are laid out, and the share of each style."""
