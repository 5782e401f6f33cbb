"""An OpenAI-compatible model server on loopback, for tests: a table of answers, and faults.

with OpenAIServer(first_token=lambda prompt: {"Yes": -0.1, "No": -2.4}) as server:
    model = ServerModel.open(server.settings())
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pydantic import SecretStr

from labeling.settings import LanguageModelSettings

SECRET = "sk-canary-8c1f"
_TOKEN = re.compile(r"\s*(?:\w+|[^\w\s])")


@dataclass(frozen=True)
class Reply:
    """What goes over the wire; ``cut`` bytes are announced and never sent."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int = 0


@dataclass(frozen=True)
class Request:
    """What came: the body as JSON, and the headers."""

    path: str
    body: Mapping[str, Any]
    headers: Mapping[str, str]

    @property
    def prompt(self) -> str:
        """All messages, one after another."""
        return "\n".join(each["content"] for each in self.body.get("messages", ()))

    @property
    def question(self) -> str:
        """The last message."""
        return str(self.body["messages"][-1]["content"])


_OTHERS = dict.fromkeys("ABC0123456789", -6.0)  # of questions with several answers


def yes_if(word: str) -> Callable[[str], dict[str, float]]:
    """Return answers that are yes where a word stands in the prompt."""
    return lambda prompt: (
        {"Yes": -0.1, " no": -2.5, **_OTHERS}
        if word in prompt
        else {"Yes": -2.5, " no": -0.1, **_OTHERS}
    )


@dataclass
class OpenAIServer:
    """The server; all that may differ between real ones is an argument.

    Args:
        first_token: log-probabilities of the first token, by the prompt.
        text: what is generated without a schema.
        form: what is generated under one, by the schema; None: the first that it allows.
        owner: ``owned_by``: vllm, llamacpp, me, library.
        most_listed: a request for more likely tokens is refused.
        options: names of the options by which it keeps to a schema; others are ignored.
        system_role: whether a system message is taken.
        logprobs: whether any are given.
        fault: is asked first, and may answer in the server's place.
    """

    first_token: Callable[[str], Mapping[str, float]] = field(
        default_factory=lambda: yes_if("ferries")
    )
    text: str = "It is blue."
    form: Callable[[Mapping[str, Any]], str] | None = None
    model: str = "house-model"
    owner: str = "vllm"
    fingerprint: str | None = "fp_1"
    most_listed: int = 20
    options: tuple[str, ...] = ("response_format.json_schema",)
    system_role: bool = True
    logprobs: bool = True
    context: int = 4096
    key: str = ""
    thinks: str = ""  # the option that stops it
    fault: Callable[[Request], Reply | None] = lambda request: None
    pages: dict[str, Any] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)

    def __enter__(self) -> OpenAIServer:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def settings(self, **changed: Any) -> LanguageModelSettings:
        """Return the settings that name this server."""
        given: dict[str, Any] = {"backend": "server", "name": self.model, "url": self.url}
        return LanguageModelSettings(**given | {"api_key": SecretStr(self.key)} | changed)

    def asked(self) -> list[Request]:
        """Return the chats that were asked for."""
        return [each for each in self.requests if each.path.endswith("/chat/completions")]

    def answer(self, request: Request) -> Reply:
        """Return the answer to a request."""
        self.requests.append(request)
        faulty = self.fault(request)
        if faulty is not None:
            return faulty
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            return _json({"error": {"message": "who are you?"}}, 401)
        if request.path == "/v1/models":
            entry = {"id": self.model, "owned_by": self.owner, "created": len(self.requests)}
            more = {"max_model_len": self.context} if self.owner == "vllm" else {}
            return _json({"object": "list", "data": [{**entry, **more}]})
        if request.path == "/v1/chat/completions":
            return self._chat(request)
        if request.path == "/tokenize" and self.owner == "vllm":
            return _json({"count": len(_TOKEN.findall(request.body["prompt"]))})
        if request.path in self.pages:
            return _json(self.pages[request.path])
        return _json({"error": "not found"}, 404)

    def _chat(self, request: Request) -> Reply:
        body = request.body
        roles = [each["role"] for each in body["messages"]]
        prompt_tokens = len(_TOKEN.findall(request.prompt)) + 4 * len(roles)
        if "system" in roles and not self.system_role:
            return _json({"error": {"message": "no system role"}}, 400)
        if body.get("top_logprobs", 0) > self.most_listed:
            return _json({"error": {"message": "top_logprobs is too large"}}, 400)
        if prompt_tokens + body["max_tokens"] > self.context:
            words = f"maximum context length is {self.context}: {request.prompt}"
            return _json({"error": {"message": words}}, 400)
        text, first = self._said(request)
        tokens = _TOKEN.findall(text)[: body["max_tokens"]] or [""]
        listed = [self._token(tokens[0], first, body)]
        listed += [self._token(each, {each: -0.01}, body) for each in tokens[1:]]
        whole = "".join(tokens) == text
        choice: dict[str, Any] = {
            "index": 0,
            "message": {"role": "assistant", "content": "".join(tokens)},
            "finish_reason": "stop" if whole else "length",
        }
        if self.logprobs and body.get("logprobs"):
            choice["logprobs"] = {"content": listed}
        return _json(
            {
                "id": "chatcmpl-1",
                "model": self.model,
                "system_fingerprint": self.fingerprint,
                "choices": [choice],
                "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": len(tokens)},
            }
        )

    def _said(self, request: Request) -> tuple[str, Mapping[str, float]]:
        schema = self._schema(request.body)
        if schema is not None:
            text = (self.form or first_allowed)(schema)
            return text, {"{": -0.01}
        if request.body["max_tokens"] > 1:
            return self.text, {_TOKEN.findall(self.text)[0]: -0.2}
        if self.thinks and self.thinks not in request.body:
            return "<think>", {"<think>": -0.001, "Well": -8.0}
        first = self.first_token(request.prompt)
        return max(first, key=lambda token: first[token]), first

    def _schema(self, body: Mapping[str, Any]) -> Mapping[str, Any] | None:
        form = body.get("response_format", {})
        found = {
            "response_format.json_schema": form.get("json_schema", {}).get("schema"),
            "response_format.json_object": form.get("schema"),
            "structured_outputs": body.get("structured_outputs", {}).get("json"),
            "guided_json": body.get("guided_json"),
            "json_schema": body.get("json_schema"),
            "format": body.get("format"),
        }
        return next((found[name] for name in self.options if found[name] is not None), None)

    def _token(
        self, text: str, first: Mapping[str, float], body: Mapping[str, Any]
    ) -> dict[str, Any]:
        best = sorted(first.items(), key=lambda item: -item[1])[: body.get("top_logprobs", 0)]
        alternatives = [{"token": t, "logprob": p, "bytes": list(t.encode())} for t, p in best]
        return {"token": text, "logprob": first.get(text, -0.01), "top_logprobs": alternatives}


def first_allowed(schema: Mapping[str, Any]) -> str:
    """Return the first JSON text that a schema allows."""
    return json.dumps(_first(schema))


def _first(schema: Mapping[str, Any]) -> Any:
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return _first(schema["anyOf"][0])
    if schema["type"] == "array":
        return [_first(schema["items"])] * schema.get("minItems", 0)
    return {key: _first(schema["properties"][key]) for key in schema["required"]}


def _json(value: Any, status: int = 200) -> Reply:
    return Reply(status, json.dumps(value).encode())


def _handler_of(server: OpenAIServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._reply({})

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            self._reply(json.loads(self.rfile.read(length)))

        def _reply(self, body: Mapping[str, Any]) -> None:
            reply = server.answer(Request(self.path, body, dict(self.headers)))
            self.send_response(reply.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(reply.body) + reply.cut))
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                self.wfile.write(reply.body)
            except ConnectionError:  # the client has heard enough
                self.close_connection = True
            self.close_connection = self.close_connection or bool(reply.cut)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    return Handler
