"""Asks a language model about reports, many at once, and returns margins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from labeling.llm.interface import (
    Ask,
    GenerateRequest,
    LanguageModel,
    Question,
    ScoreRequest,
    Stem,
    is_bound,
    margin,
)
from labeling.token_scores.evidence import Key
from labeling.token_scores.prompt import Prompts, cleaned


@dataclass(frozen=True)
class Enquiry:
    """A cleaned report and the labels that it is asked about.

    Args:
        mention: ask, too, whether each is mentioned.
        summary_tokens: let the model first write a summary of so many tokens; 0: none.
    """

    prompts: Prompts
    report: str
    keys: tuple[Key, ...]
    mention: bool = False
    summary_tokens: int = 0

    @property
    def observations(self) -> tuple[str, ...]:
        """The observations that are asked about, in order."""
        return tuple(dict.fromkeys(observation for observation, _ in self.keys))

    def keys_of(self, observation: str) -> list[Key]:
        """Return the labels of an observation, in order."""
        return [key for key in self.keys if key[0] == observation]


@dataclass(frozen=True)
class Reply:
    """Log-odds of yes against no to each question; ``without_summary``: none was written.

    ``is_bound`` says that an answer was not among those that the model lists, so that the log-odds
    are at least so far from 0 as they say.
    """

    margin: float
    mention_margin: float | None = None
    without_summary: bool = False
    is_bound: bool = False


def ask(model: LanguageModel, enquiries: Sequence[Enquiry], batch: int) -> list[dict[Key, Reply]]:
    """Return for each enquiry, in order, a reply to each of its labels.

    Args:
        model: any; it is given at most ``batch`` reports at once, those of like length together.

    Raises:
        UnusableLanguageModel, ModelUnavailable: as the model says.
    """
    replies: list[dict[Key, Reply]] = [{} for _ in enquiries]
    order = sorted(range(len(enquiries)), key=lambda index: len(enquiries[index].report))
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        given = _ask([enquiries[index] for index in chosen], model)
        for index, reply in zip(chosen, given, strict=True):
            replies[index] = reply
    return replies


def _ask(enquiries: Sequence[Enquiry], model: LanguageModel) -> Iterator[dict[Key, Reply]]:
    summaries = _summaries(enquiries, model)
    requests = [
        ScoreRequest(
            enquiry.prompts.reading(enquiry.report),
            tuple(_stem(enquiry, name, summary.get(name, "")) for name in enquiry.observations),
        )
        for enquiry, summary in zip(enquiries, summaries, strict=True)
    ]
    scores = model.score(requests)
    for enquiry, summary, answers in zip(enquiries, summaries, scores, strict=True):
        reply: dict[Key, Reply] = {}
        for name, given in zip(enquiry.observations, answers, strict=True):
            margins = [margin(each) for each in given]
            keys = enquiry.keys_of(name)
            mentions = margins[len(keys) :] if enquiry.mention else [None] * len(keys)
            missing = bool(enquiry.summary_tokens) and not summary.get(name)
            bounds = [is_bound(each) for each in given]
            asked_twice = bounds[len(keys) :] if enquiry.mention else [False] * len(keys)
            for key, present, mention, *bound in zip(
                keys, margins, mentions, bounds, asked_twice, strict=False
            ):
                reply[key] = Reply(present, mention, missing, any(bound))
        yield reply


def _stem(enquiry: Enquiry, observation: str, summary: str) -> Stem:
    """Return the questions of an observation: all "present" first, then all "mentioned"."""
    prompts, keys = enquiry.prompts, enquiry.keys_of(observation)
    questions: list[Question] = [prompts.present(*key) for key in keys]
    if enquiry.mention:
        questions += [prompts.mentioned(*key) for key in keys]
    definition = prompts.stem(observation)
    if not summary:
        return Stem((definition,), tuple(questions))
    return Stem((prompts.summary(observation), summary, definition), tuple(questions))


def _summaries(enquiries: Sequence[Enquiry], model: LanguageModel) -> list[dict[str, str]]:
    """Return for each enquiry, by observation, the summary aimed at it; many are written at once.

    A summary rests on words of the report, so it is made as harmless as they are.
    """
    wanted = [index for index, enquiry in enumerate(enquiries) if enquiry.summary_tokens]
    summaries: list[dict[str, str]] = [{} for _ in enquiries]
    if not wanted:
        return summaries
    requests = [
        GenerateRequest(
            enquiry.prompts.reading(enquiry.report),
            tuple(
                Ask((enquiry.prompts.summary(name),), enquiry.summary_tokens)
                for name in enquiry.observations
            ),
        )
        for enquiry in (enquiries[index] for index in wanted)
    ]
    for index, written in zip(wanted, model.generate(requests), strict=True):
        for name, generated in zip(enquiries[index].observations, written, strict=True):
            summaries[index][name] = cleaned(generated.text, model.markers)
    return summaries
