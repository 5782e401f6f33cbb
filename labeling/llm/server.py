"""A language model behind an OpenAI-compatible server: vLLM, llama.cpp's server, Ollama and others.

Each question is a request of its own. The report comes first in all of them and they follow each
other, so that the server finds the report's prefix in its cache.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from labeling.llm.addresses import Lookup, ServerAddress, address_of, look_up
from labeling.llm.conversation import MARKERS, harmless, messages
from labeling.llm.interface import (
    Ask,
    Generated,
    GenerateRequest,
    Question,
    Reading,
    ScoreRequest,
    Scores,
    UnansweredReport,
    UnusableLanguageModel,
)
from labeling.llm.manner import Manner, held_to_schema, manner_of, prompt_bytes
from labeling.llm.served import ASSUMED_CONTEXT, Served, served_by
from labeling.llm.server_answers import Completion, completion_of, generated_of, scores_of
from labeling.llm.transport import MAXIMUM_ANSWER, Broken, Pauses, Refused, Transport
from labeling.settings import LanguageModelSettings

TOO_LONG = "the report has more tokens than the model may read"
MAXIMUM_REPORT_TOKENS = 8192

_BYTES_PER_TOKEN = 2.5  # where nobody counts: fewer than any tokenizer has on average
_FRAME_TOKENS = 64  # of a chat format around a reading
_SHORTEST_ALTERNATIVE = 256  # bytes of JSON for one listed token, at most
_LEAST_READ = 0.5  # of a prompt's bytes, before a server is said to have cut it
_ABOUT_A_REPORT = frozenset({400, 413, 422})
_LENGTH_WORDS = ("context", "too long", "too many tokens", "max_model_len", "maximum")
_GRAMMAR_WORDS = ("grammar", "schema", "structured", "guided")

_Job = TypeVar("_Job")
_Answer = TypeVar("_Answer")


class ServerModel:
    """A model of a server. Not for use by several threads at once; it asks by several itself.

    Args:
        transport: to the server.
        address: of it.
        served: what it says of the model.
        manner: how it wants to be asked.
        side_by_side: how many requests are under way at a time.
    """

    def __init__(
        self,
        transport: Transport,
        address: ServerAddress,
        served: Served,
        manner: Manner,
        *,
        side_by_side: int,
    ) -> None:
        self.name = served.id
        self.digest = served.digest(manner.fingerprint)
        self.markers = MARKERS
        self.address, self.served, self.manner = address, served, manner
        self._transport = transport
        self.side_by_side = side_by_side
        self._schema_option: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None
        self._counts: dict[str, int] = {}

    @classmethod
    def open(
        cls,
        settings: LanguageModelSettings,
        *,
        lookup: Lookup = look_up,
        pauses: Pauses | None = None,
    ) -> ServerModel:
        """Find the server, and ask it what it serves and a few harmless questions.

        Args:
            settings: its url, the model's name there, the key and the time to wait.
            lookup: of host names.
            pauses: between attempts.

        Raises:
            UnusableLanguageModel: it lies where no report may go, or cannot be asked.
            ModelUnavailable: it is away.
        """
        address = address_of(
            settings.url, allow_public=settings.allow_public_address, lookup=lookup
        )
        transport = Transport(
            address,
            key=settings.api_key.get_secret_value(),
            timeout=settings.timeout_seconds,
            connections=max(settings.concurrent_requests, settings.batch_reports),
            pauses=pauses,
        )
        served = served_by(transport, address, settings.name)
        manner = manner_of(lambda body, tokens: _sent(transport, address, served, body, tokens))
        at_once = settings.concurrent_requests or min(served.side_by_side, settings.batch_reports)
        return cls(transport, address, served, manner, side_by_side=at_once)

    @property
    def context(self) -> int:
        """Return how many tokens the server reads, or what is assumed where it does not say."""
        return self.served.context or ASSUMED_CONTEXT

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens of a text; where the server does not count, too many."""
        if self.served.tokenizer is None:
            return _estimate(text)
        if text not in self._counts:
            if len(self._counts) >= 64:
                self._counts.clear()
            self._counts[text] = self._counted(text)
        return self._counts[text]

    def fits(self, reading: Reading) -> bool:
        """Tell whether the model can read this and still be asked."""
        text = f"{reading.system}{reading.before}{harmless(reading.report)}{reading.after}"
        limit = min(MAXIMUM_REPORT_TOKENS, self.context // 2) - _FRAME_TOKENS
        # A token is a byte at least, so most reports need no counting.
        return len(text.encode("utf-8", "replace")) <= limit or self.count_tokens(text) <= limit

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[list[Scores]]]:
        """Return the scores by request, stem and question.

        The scores of a question are ``BoundedScores`` where a choice was not among the tokens
        that the server lists.

        Raises:
            UnusableLanguageModel: the server gives no log-probabilities, or untrue ones.
            UnansweredReport: of one report, the server takes no question or lists no choice.
            ModelUnavailable: trying again later may succeed.
        """
        if self.manner.fault:
            raise UnusableLanguageModel(self.manner.fault)
        chains = [
            [(r.reading, stem.turns, q) for stem in r.stems for q in stem.questions]
            for r in requests
        ]
        answers = _side_by_side(chains, self._score, self.side_by_side)
        found: list[list[list[Scores]]] = []
        for request, scores in zip(requests, answers, strict=True):
            rest = iter(scores)
            found.append([[next(rest) for _ in stem.questions] for stem in request.stems])
        return found

    def generate(self, requests: Sequence[GenerateRequest]) -> list[list[Generated]]:
        """Return the texts by request and ask, each generated greedily.

        A text that a server wrote against its grammar is cut where it leaves it.

        Raises:
            UnusableLanguageModel: the server keeps to no grammar.
            UnansweredReport: the server takes no question about one report.
            ModelUnavailable: trying again later may succeed.
        """
        if self._schema_option is None and any(a.grammar for r in requests for a in r.asks):
            self._schema_option = held_to_schema(self._send, self.manner)
        chains = [[(r.reading, ask) for ask in r.asks] for r in requests]
        return _side_by_side(chains, self._generate, self.side_by_side)

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def _score(self, job: tuple[Reading, tuple[str, ...], Question]) -> Scores:
        reading, turns, question = job
        body = self.manner.score_body(reading, turns, question.text)
        return scores_of(self._ask(body, self.manner.listed), question.choices)

    def _generate(self, job: tuple[Reading, Ask]) -> Generated:
        reading, ask = job
        count = min(ask.alternatives, self.manner.listed)
        body: dict[str, Any] = {
            "messages": messages(reading, ask.turns, merged=self.manner.merged),
            "max_tokens": ask.maximum_tokens,
            "temperature": 0,
            **self.manner.options,
        }
        if count and not self.manner.fault:
            body |= {"logprobs": True, "top_logprobs": count}
        if ask.repetition_penalty != 1.0:  # by the names of vLLM and llama.cpp
            penalty = ask.repetition_penalty
            body |= {"repetition_penalty": penalty, "repeat_penalty": penalty}
        if ask.grammar is not None and self._schema_option is not None:
            body |= self._schema_option(ask.grammar.json_schema)
        return generated_of(self._ask(body, ask.maximum_tokens * (1 + count)), ask)

    def _ask(self, body: Mapping[str, Any], tokens: int) -> Completion:
        """Return the answer to a question about a report; ``tokens`` that it lists at most."""
        try:
            answer = self._send(body, tokens)
        except Refused as error:
            raise _meaning(error) from None
        except Broken:
            # Does it fail at all questions, or at this report? Without a report it must work.
            self._send(self.manner.score_body(_NOTHING, ("Are you there?",), ""), 0)
            raise UnansweredReport("the model server breaks on this report") from None
        if answer.model != self.manner.model or (
            answer.system_fingerprint != self.manner.fingerprint
        ):
            raise UnusableLanguageModel("the model server now serves another model or version")
        self._check_all_read(body, answer)
        return answer

    def _check_all_read(self, body: Mapping[str, Any], answer: Completion) -> None:
        """Some servers cut a prompt that is too long for them, and answer all the same."""
        ratio = self.manner.bytes_per_token
        if ratio is not None and answer.usage is not None:
            read = answer.usage.prompt_tokens * ratio
            if read < _LEAST_READ * prompt_bytes(body):
                raise UnansweredReport("the model server reads only a part of the report")

    def _send(self, body: Mapping[str, Any], tokens: int) -> Completion:
        return _sent(self._transport, self.address, self.served, body, tokens)

    def _counted(self, text: str) -> int:
        if self.served.tokenizer is None:
            return _estimate(text)
        path, body = self.served.tokenizer(self.address.root, text)
        try:
            answer = self._transport.post(path, body, MAXIMUM_ANSWER + 16 * len(text))
        except Refused:
            return _estimate(text)
        count = answer.get("count") if isinstance(answer, dict) else None
        listed = answer.get("tokens") if isinstance(answer, dict) else None
        count = len(listed) if isinstance(listed, list) else count
        return count if type(count) is int and count >= 0 else _estimate(text)


_NOTHING = Reading("You answer questions.", "", "", "")


def _sent(
    transport: Transport,
    address: ServerAddress,
    served: Served,
    body: Mapping[str, Any],
    tokens: int,
) -> Completion:
    asked = {"model": served.id, "stream": False, "seed": 0, **body}
    listed = tokens + int(body.get("top_logprobs") or 0)
    longest = MAXIMUM_ANSWER + _SHORTEST_ALTERNATIVE * listed
    return completion_of(transport.post(f"{address.path}/chat/completions", asked, longest))


def _meaning(error: Refused) -> UnusableLanguageModel:
    """Return what a refusal means for a report, where harmless questions were taken."""
    if error.status not in _ABOUT_A_REPORT:
        return error
    said = error.said.lower()
    if any(word in said for word in _LENGTH_WORDS):
        return UnansweredReport(TOO_LONG)
    if any(word in said for word in _GRAMMAR_WORDS):
        return UnusableLanguageModel(f"{error}: it cannot use the form's JSON Schema")
    return UnansweredReport(str(error))


def _side_by_side(
    chains: Sequence[Sequence[_Job]], work: Callable[[_Job], _Answer], workers: int
) -> list[list[_Answer]]:
    """Return the answers by chain; a chain's jobs follow each other, several chains go at once.

    Where there are fewer chains than workers, the first job of each is done before its others
    share the workers: it brings the report into the server's cache. The first error ends all.
    """
    if workers == 1:
        return [[work(job) for job in chain] for chain in chains]
    stop = threading.Event()

    def follow(chain: Sequence[_Job]) -> list[_Answer]:
        answers: list[_Answer] = []
        for job in chain:
            if stop.is_set():
                break
            try:
                answers.append(work(job))
            except BaseException:
                stop.set()
                raise
        return answers

    with ThreadPoolExecutor(workers) as pool:
        if len(chains) >= workers:
            return list(pool.map(follow, chains))
        firsts = list(pool.map(follow, [chain[:1] for chain in chains]))
        share = max(1, workers // max(1, len(chains)))
        parts = [[chain[1:][n::share] for n in range(share)] for chain in chains]
        done = iter(list(pool.map(follow, [part for some in parts for part in some])))
        rests = [_woven([next(done) for _ in some]) for some in parts]
    return [first + rest for first, rest in zip(firsts, rests, strict=True)]


def _woven(parts: Sequence[Sequence[_Answer]]) -> list[_Answer]:
    """Return in their order the answers of a chain that was dealt out in turn."""
    longest = max(map(len, parts), default=0)
    return [part[n] for n in range(longest) for part in parts if n < len(part)]


def _estimate(text: str) -> int:
    return int(len(text.encode("utf-8", "replace")) / _BYTES_PER_TOKEN) + 1
