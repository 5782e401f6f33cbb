"""Lays out one report: its style, its sections and what stands between its sentences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from labeling.synthesis.claims import Statement, truth_of
from labeling.synthesis.composing import Composer
from labeling.synthesis.generated import GeneratedReport
from labeling.synthesis.given import Context
from labeling.synthesis.noise import Habits
from labeling.synthesis.nouns import capitalised
from labeling.synthesis.paper import Paper
from labeling.synthesis.plan import Plan
from labeling.synthesis.sections import Sections
from labeling.synthesis.writer import Writer

_BULLETS = ("\n- ", "\n# ", "\n#. ", "\n* ")
_LISTS = ((": ", "\n"), (": ", "\n"), (" - ", "\n"), (":\n", "\n\n"), (": ", " "))
"""What follows the name of a site in a list, and what parts its entries."""


@dataclass(frozen=True)
class Layout:
    """How a report is laid out.

    Args:
        styles: of which one is drawn.
        opening: words before everything else, which claim nothing.
        concluded: an impression and what follows it may end the report.
    """

    styles: tuple[str, ...]
    opening: str = ""
    concluded: bool = True


class Report:
    """One report by one writer, of one plan."""

    def __init__(
        self,
        writer: Writer,
        plan: Plan,
        habits: Habits | None,
        layout: Layout,
        context: Context | None = None,
    ) -> None:
        self._writer, self._chance, self._layout = writer, writer.chance, layout
        self._composer = Composer(writer, plan)
        self._paper = Paper(writer, habits)
        self._sections = Sections(writer, plan, self._composer, context)

    def written(self, name: str) -> GeneratedReport:
        """Return the report, under an id, with what its text says."""
        schema = self._writer.schema
        styles = {
            style: share
            for style, (_, share) in _STYLES.items()
            if style in self._layout.styles and (schema.sites or style != "by_site")
        }
        self._writer.begin("style")
        style = self._chance.choices(tuple(styles), tuple(styles.values()))[0]
        _STYLES[style][0](self)
        opening = f"{self._layout.opening}\n\n" if self._layout.opening else ""
        moved = len(opening)
        truth = truth_of(
            schema,
            [
                replace(each, span=(each.span[0] + moved, each.span[1] + moved))
                for each in self._paper.written
            ],
        )
        return GeneratedReport(
            id=name,
            text=opening + self._paper.text,
            states=truth.states,
            severities=truth.severities,
            locations=truth.locations,
            evidence=truth.evidence,
            own=truth.own,
            split=self._writer.split,
            style=style,
        )

    # Styles

    def terse(self) -> None:
        """A note of one paragraph or one line a sentence."""
        said = self._composer.findings() or self._composer.normal_study()
        self._scatter(said, (0, 1, 2, 3))
        if self._chance.random() < 0.2:
            self._head("findings")
        self._paper.say_all(said, self._between())

    def impression(self) -> None:
        """Nothing but an impression."""
        said = self._composer.findings() or self._composer.normal_study()
        self._head("impression" if self._layout.concluded else "findings")
        self._paper.say_all(said, self._between())

    def clinical(self) -> None:
        """A report with headings, in their usual or another order."""
        self._opening(share=0.75)
        self._head("findings")
        said = self._composer.findings() or self._composer.normal_study()
        self._scatter(said, (1, 2, 3, 4, 5))
        self._paper.say_all(said, self._between())
        self._ending(share=0.85)

    def by_site(self) -> None:
        """Findings listed site by site."""
        self._opening(share=0.4)
        # What follows another section without a heading would belong to it.
        if self._paper.text or self._chance.random() < 0.5:
            self._head("findings")
        listed = self._composer.by_site()
        beside = self._composer.unplaced()
        self._writer.begin("beside")
        beside += self._composer.distractors(self._chance.choice((0, 1, 2, 3)))
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
        self._scatter(said, (2, 3, 4, 5))
        half = len(said) // 2
        for part in (said[:half], said[half:]):
            if part and self._paper.text:
                self._paper.blank("\n\n")
            self._paper.say_all(part, self._paper.between)

    # Parts

    def _opening(self, share: float) -> None:
        self._writer.begin("opening")
        if self._chance.random() < 0.4:
            self._paper.heading(self._sections.title())
            self._paper.blank("\n\n")
        for kind, text in self._sections.before():
            if self._chance.random() < share or self._sections.must_say(kind):
                self._head(kind)
                self._paper.say(Statement(capitalised(text())))
                self._paper.blank(self._chance.choice(("\n", "\n\n")))

    def _ending(self, share: float) -> None:
        if not self._layout.concluded:
            return
        self._writer.begin("ending")
        if self._chance.random() < share:
            said = self._composer.summary()
            if said:
                self._paper.blank(self._chance.choice(("\n", "\n\n")))
                self._head("impression")
                self._paper.say_all(said, self._between())
        self._writer.begin("end")
        if self._chance.random() < 0.1:
            self._paper.blank("\n\n")
            self._head("recommendation")
            self._paper.say(Statement(capitalised(self._sections.frame("recommendations"))))
        # Given facts have none to add or to take back.
        if self._chance.random() < 0.08 and self._writer.facts is None:
            self._paper.blank("\n\n")
            self._head("addendum")
            self._paper.say_all(self._composer.addendum(), self._paper.between, addendum=True)
        elif self._chance.random() < 0.1:
            self._paper.blank("\n\n")
            self._paper.say(Statement(self._sections.frame("closings")))

    def _head(self, kind: str) -> None:
        self._writer.begin(f"heading {kind}")
        heading = self._sections.heading(kind)
        self._paper.heading(heading)
        alone = not heading.endswith(":") or self._chance.random() < 0.5
        self._paper.blank("\n" if alone else " ")

    def _scatter(self, said: list[Statement], counts: tuple[int, ...]) -> None:
        self._writer.begin("beside")
        for each in self._composer.distractors(self._chance.choice(counts)):
            said.insert(self._chance.randrange(len(said) + 1), each)

    def _between(self) -> str:
        self._writer.begin("between")
        drawn = self._chance.random() * self._paper.apart
        if drawn < 0.6:
            return self._paper.between
        return "\n" if drawn < 0.8 else self._chance.choice(_BULLETS)


_STYLES: Mapping[str, tuple[Callable[[Report], None], float]] = {
    "terse": (Report.terse, 0.3),
    "clinical": (Report.clinical, 0.35),
    "by_site": (Report.by_site, 0.15),
    "narrative": (Report.narrative, 0.12),
    "impression": (Report.impression, 0.08),
}
"""How reports are laid out, and the share of each style."""

STYLES = tuple(_STYLES)
