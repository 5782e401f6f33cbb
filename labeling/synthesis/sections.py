"""The sections of a report that never label: title, history, technique, comparison, closing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from string import Formatter

from labeling.synthesis.composing import Composer
from labeling.synthesis.given import Context
from labeling.synthesis.plan import Plan
from labeling.synthesis.writer import Writer

_MONTHS = ("January", "March", "May", "June", "August", "October", "December")
_SEXES = ("male", "female", "man", "woman")
_SEXES_OF = {"M": ("male", "man"), "F": ("female", "woman")}
_DATES = ("%d.%m.%Y", "%Y-%m-%d", "%d/%m/%Y")


class Sections:
    """One writer's silent sections.

    Args:
        context: what is known of the patient and earlier studies; None: any is drawn.
    """

    def __init__(
        self, writer: Writer, plan: Plan, composer: Composer, context: Context | None
    ) -> None:
        self._writer, self._chance = writer, writer.chance
        self._plan, self._composer, self._context = plan, composer, context

    def title(self) -> str:
        """Return a title."""
        title = self._chance.choice(self._writer.wording.common.vocabulary["titles"])
        return title.format(study=self._plan.study)

    def heading(self, kind: str) -> str:
        """Return the heading of a section."""
        known = self._writer.wording.common.vocabulary[f"headings_{kind}"]
        magnetic = self._writer.schema.modality == "MR"
        return self._chance.choice([each for each in known if magnetic or "MRI" not in each])

    def before(self) -> list[tuple[str, Callable[[], str]]]:
        """Return the sections that stand before the findings, in their usual or another order."""
        sections: list[tuple[str, Callable[[], str]]] = [
            ("history", self._history),
            ("technique", self._technique),
            ("comparison", lambda: self.frame("comparisons")),
        ]
        if self._chance.random() < 0.2:
            self._chance.shuffle(sections)
        return sections

    def must_say(self, kind: str) -> bool:
        """Tell whether a section is never left out: there is an earlier study."""
        known = self._context is not None and self._context.prior_date is not None
        return kind == "comparison" and known

    def frame(self, kind: str) -> str:
        """Return a sentence of a kind that never labels."""
        return self._silent(self._writer.of(self._writer.wording.common.frames[kind]))

    def _history(self) -> str:
        own = self._writer.of(self._writer.wording.own.histories)
        common = self._writer.wording.common.frames["histories"]
        drawn_own = own and self._chance.random() < 0.5
        return self._silent(own if drawn_own else self._writer.of(common))

    def _technique(self) -> str:
        own = self._composer.technique()
        if own and self._chance.random() < 0.8:
            return own
        return self.frame("techniques")

    def _silent(self, templates: Sequence[str]) -> str:
        """Fill in a sentence with what is known, or with what is drawn where nothing is given."""
        template = self._chance.choice(self._tellable(templates))
        observation = self._chance.choice(self._plan.observations)
        day, year = self._chance.randint(1, 28), self._chance.randint(2010, 2025)
        filled = {
            "np": self._composer.sentences.nouns.bare(observation).text,
            "age": str(self._chance.randint(18, 92)),
            "sex": self._chance.choice(_SEXES),
            "date": f"{day} {self._chance.choice(_MONTHS)} {year}",
            "study": self._plan.study,
        }
        return template.format(**(filled | self._known()))

    def _known(self) -> dict[str, str]:
        """Return the words for what is known of the patient."""
        known: dict[str, str] = {}
        if self._context is None:
            return known
        if self._context.age is not None:
            known["age"] = str(self._context.age)
        if self._context.sex in _SEXES_OF:
            known["sex"] = self._chance.choice(_SEXES_OF[self._context.sex])
        if self._context.prior_date is not None:
            known["date"] = self._context.prior_date.strftime(self._chance.choice(_DATES))
        return known

    def _tellable(self, templates: Sequence[str]) -> Sequence[str]:
        """Return the sentences that need nothing unknown; those with a date where one is known."""
        if self._context is None:
            return templates
        unknown = {"age", "sex", "date"} - self._known().keys()
        usable = [each for each in templates if unknown.isdisjoint(_gaps(each))]
        dated = [each for each in usable if "date" in _gaps(each)]
        return dated or usable or templates


def _gaps(template: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(template) if name}
