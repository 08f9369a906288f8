"""A language model plays the search engine, and its documents are checked before they are delivered."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from zs_env.engines.llm.backend import BackendSettings, ChatBackend, make_backend
from zs_env.engines.llm.checking import Check, make_check
from zs_env.engines.llm.client import ClientSettings, combine_seed
from zs_env.engines.llm.drafts import Drafts, Examples
from zs_env.engines.llm.gguf import find_gguf
from zs_env.engines.llm.inprocess import InProcessSettings, is_in_process
from zs_env.engines.llm.parsing import ParsedReply, parse_reply
from zs_env.engines.llm.prompts import PERSONAS, PromptWriter, load_prompts
from zs_env.engines.llm.replies import ChatReply
from zs_env.errors import ChatError, ConfigError
from zs_env.tuning.simulator_file import read_simulator, simulation_options
from zs_env.types import Document, SearchRequest, SearchResult

__all__ = ["SimulatedEngine", "SimulationSettings", "simulate_prompt", "simulate_sft"]

UPSTREAM_MAX_TOKENS = 600
FREQUENCY_PENALTY = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationSettings:
    """How a model plays the search engine.

    Attributes:
        mode: "prompt": an instruct model with a few-shot prompt; "sft": a fine-tuned simulator with the paper's short
            prompt.
        check: Whether documents are checked against what was asked for, and asked for again. Left out: yes, but for
            `compat="upstream"`.
        max_tries: The most replies that one search asks the model for.
        unmet: What becomes of a search whose documents still aren't what was asked for: "deliver" them with
            `quality_checked` false, or "fail" the search.
        persona: Which search engine it plays: "Google", "Wikipedia", or any other, such as a domain.
        style: A sentence on how its documents read, in place of the persona's own.
        language: The language of the documents.
        document_words: About how many words a document has.
        prompts: A folder with prompts of one's own, or their texts by name; see `zs_env.engines.llm.prompts`.
        temperature: Of sampling; None leaves it to the server.
        top_p: Of sampling; None leaves it to the server.
        frequency_penalty: Of sampling, against loops, which small models fall into; 0 for none. Left out: 0.2 for
            "prompt", and none for "sft" and `compat="upstream"`.
        max_tokens: The longest reply; left out: four tokens a word, and some more.
        send_seed: Whether the server is told the seed of each try, so that equal requests get equal documents.
        system: The system message. Left out: the prompt's own, if it has one; else none for "prompt", and an empty one
            for "sft", as the released simulators had.
        extra: What else stands in each request, such as `{"chat_template_kwargs": {"enable_thinking": False}}`; a value
            of None takes something out.
        compat: "upstream" for the paper's exact prompts, sampling and, unless `check` is given, no check.
    """

    mode: Literal["prompt", "sft"] = "prompt"
    check: bool | None = None
    max_tries: int = 4
    unmet: Literal["deliver", "fail"] = "deliver"
    persona: str = "Google"
    style: str | None = None
    language: str = "English"
    document_words: int = 30
    prompts: str | PathLike[str] | Mapping[str, str] | None = None
    temperature: float | None = 0.8
    top_p: float | None = None
    frequency_penalty: float | None = None
    max_tokens: int | None = None
    send_seed: bool = True
    system: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    compat: Literal["upstream"] | None = None

    def __post_init__(self) -> None:
        for name, known in (
            ("mode", ("prompt", "sft")),
            ("check", (True, False, None)),
            ("unmet", ("deliver", "fail")),
            ("compat", ("upstream", None)),
            ("send_seed", (True, False)),
        ):
            value = getattr(self, name)
            if not any(value is each or (isinstance(each, str) and value == each) for each in known):
                raise ConfigError(f"{name} must be one of {', '.join(map(repr, known))}; got {value!r}.")
        for name in ("max_tries", "document_words", "max_tokens"):
            value = getattr(self, name)
            if value is None and name == "max_tokens":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name} must be a whole number of at least 1; got {value!r}.")
        for name in ("persona", "language"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value.strip():
                known_personas = f" ({', '.join(PERSONAS)}, or another)" if name == "persona" else ""
                raise ConfigError(f"{name} must be a text that isn't empty{known_personas}; got {value!r}.")
        for name in ("temperature", "top_p", "frequency_penalty"):
            value = getattr(self, name)
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
            if value is not None and not (is_number and value >= 0):
                raise ConfigError(f"{name} must be a number of at least 0, or None; got {value!r}.")
        for name in ("style", "system"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise ConfigError(f"{name} must be a text, or None; got {value!r:.100}.")
        if self.prompts is not None and not isinstance(self.prompts, (str, PathLike, Mapping)):
            raise ConfigError(
                f"prompts must be the path of a folder, texts by name, or None; got {self.prompts!r:.100}."
            )
        if not isinstance(self.extra, Mapping):
            raise ConfigError(f"extra must be a mapping that is merged into each request; got {self.extra!r:.100}.")
        try:
            json.dumps(dict(self.extra))
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigError(f"extra must hold what JSON can: {error}; got {self.extra!r:.100}.") from error
        for name in ("messages", "stream"):
            if name in self.extra:
                raise ConfigError(f"extra can't set {name!r}, which is the engine's own: leave it out.")
        if self.compat and (self.prompts is not None or (self.persona, self.language) != ("Google", "English")):
            raise ConfigError(
                'compat="upstream" brings the paper\'s prompts, which are in English and for Google: leave out prompts '
                f"(got {self.prompts!r}), persona (got {self.persona!r}) and language (got {self.language!r})."
            )

    @property
    def checked(self) -> bool:
        """Whether documents are checked."""
        return self.compat is None if self.check is None else self.check


class SimulatedEngine:
    """Asks a chat model for the documents of each search.

    A result's `metadata` has `quality_checked` (whether the documents are what was asked for: true, false, or None
    where they weren't checked or checking means nothing), `tries` (replies asked for), `unmet` (what is wrong, if
    `quality_checked` is false), `documents_dropped` (left out one by one, for what `Drafts` says), `cut` (replies that
    ended at the limit of tokens), `retries` (requests made again because a server failed), `model`, `input_tokens` and
    `output_tokens`. `supports_query` is None: a model's word is all there is.

    An engine may be shared by any number of environments, threads and event loops; copies are the engine itself.
    `aclose()` or `close()` closes its connections earlier than the end of the loop or the program would, or frees the
    model in this process.

    Args:
        client: How its model is reached: `ClientSettings` for a server, `InProcessSettings` for a model in this
            process, or a `ChatBackend`.
        settings: How it plays.

    Raises:
        ConfigError: A prompt can't be used.
        MissingPackageError: `aiohttp` or `xllamacpp` is needed and isn't installed.
    """

    def __init__(
        self, client: ClientSettings | InProcessSettings | ChatBackend, settings: SimulationSettings | None = None
    ) -> None:
        self.settings = settings = SimulationSettings() if settings is None else settings
        self._given = client
        self._client = make_backend(client)
        upstream = settings.compat == "upstream"
        self._writer = PromptWriter(
            mode=settings.mode,
            prompts=load_prompts(settings.mode, settings.prompts, upstream=upstream),
            persona=settings.persona,
            style=settings.style,
            language=settings.language,
            document_words=settings.document_words,
            upstream=upstream,
        )
        self._known_examples: dict[tuple[str, bool], Examples] = {}

    @property
    def name(self) -> str:
        """The engine's name in records: its search mode."""
        return f"simulate_{self.settings.mode}"

    @property
    def fingerprint(self) -> str:
        """A short hash of what its answers depend on: the model (its server, if it has no name) and how it plays."""
        settings = {item.name: getattr(self.settings, item.name) for item in fields(self.settings)}
        settings["prompts"] = dict(self._writer.prompts)
        text = json.dumps([self._client.settings.identity, settings], sort_keys=True, default=repr)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def client_settings(self) -> BackendSettings:
        """How its model is reached."""
        return self._client.settings

    async def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Answer every request, all of them at the same time."""
        return list(await asyncio.gather(*map(self._answer, requests)))

    async def aclose(self) -> None:
        """Close the connections of this event loop."""
        await self._client.aclose()

    def close(self) -> None:
        """Close all connections, from outside of coroutines."""
        self._client.close()

    async def _answer(self, request: SearchRequest) -> SearchResult:
        begin = time.perf_counter()
        record = _Record(deadline=time.monotonic() + self.client_settings.deadline_s)
        error: str | None = None
        documents: tuple[Document, ...] = ()
        try:
            documents = await self._simulate(request, record)
        except ChatError as failure:
            error = str(failure)
            record.retries += failure.retries
        except Exception as failure:  # the engine's boundary: one search that fails must not take others with it
            error = f"The simulated search broke ({type(failure).__name__}): this is a defect of the engine."
        if not error and self.settings.unmet == "fail" and record.quality_checked is False:
            error = (
                f"The model's documents aren't what was asked for after {record.tries} tries: {record.unmet}. Raise "
                "max_tries, take a larger model, or deliver them with unmet='deliver'."
            )
        return SearchResult(
            documents=() if error else documents,
            engine=self.name,
            error=error,
            latency_s=time.perf_counter() - begin,
            cost=record.cost,
            metadata=record.as_metadata(),
        )

    async def _simulate(self, request: SearchRequest, record: _Record) -> tuple[Document, ...]:
        """Ask until the documents are what was asked for, or as often as is allowed.

        Good documents are kept from one reply to the next, and only what is missing is asked for. A server that fails
        after that takes nothing away from a search whose documents are what was asked for, if too few.

        Raises:
            ChatError: The server failed, or wrote no documents at all.
        """
        check = make_check(request)
        if not self.settings.checked:
            parsed = await self._ask(request, record, request.topk, check)
            if not parsed.documents:
                raise _wrote_nothing(record)
            return parsed.documents
        drafts = Drafts(check, request.topk, request.seed, self._examples(request, check))
        while record.tries < self.settings.max_tries and not drafts.is_done:
            try:
                parsed = await self._ask(request, record, drafts.num_missing, check)
            except ChatError as failure:
                if not drafts.delivered() or drafts.verdict is False:
                    raise
                record.retries += failure.retries
                break
            drafts.add(parsed.documents)
        delivered = drafts.delivered()
        record.dropped = drafts.num_left_out
        if not delivered and record.dropped:
            raise ChatError(
                f"All {record.dropped} documents that the model wrote in {record.tries} tries were copies of the "
                "prompt's examples: raise max_tries, or take a larger model."
            )
        if not delivered:
            raise _wrote_nothing(record)
        record.quality_checked = drafts.verdict
        record.unmet = check.unmet if record.quality_checked is False else None
        return tuple(delivered)

    async def _ask(self, request: SearchRequest, record: _Record, count: int, check: Check) -> ParsedReply:
        """Ask once for so many documents."""
        settings = self.settings
        messages = self._writer.write(request, count=count, gives_answer=check.gives_answer)
        system = settings.system
        if system is None and (settings.mode == "sft" or settings.compat) and messages[0]["role"] != "system":
            system = ""
        if system is not None:
            rest = messages[1:] if messages[0]["role"] == "system" else messages
            messages = [{"role": "system", "content": system}, *rest]
        record.tries += 1
        reply = await self._client.chat(
            messages,
            seed=combine_seed(request.seed, record.tries - 1),
            options=self._options(count),
            send_seed=settings.send_seed,
            deadline=record.deadline,
        )
        record.add(reply)
        parsed = parse_reply(reply.text, count, cut=reply.cut)
        record.cut += reply.cut
        return parsed

    def _options(self, count: int) -> dict[str, Any]:
        """What stands in a request for so many documents, beside its messages."""
        settings = self.settings
        paper = settings.mode == "sft" or settings.compat is not None
        penalty = settings.frequency_penalty
        if penalty is None and not paper:
            penalty = FREQUENCY_PENALTY
        tokens = UPSTREAM_MAX_TOKENS if settings.compat else 100 + 4 * count * settings.document_words
        return {
            "max_tokens": settings.max_tokens or tokens,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "frequency_penalty": penalty or None,
            "stop": None if paper else [f"\nDoc {count + 1}:", "\nQuery:", "\nQuestion:"],
            **settings.extra,
        }

    def _examples(self, request: SearchRequest, check: Check) -> Examples:
        """The documents of the examples in a request's prompt: a small model may copy them."""
        kind = request.quality, check.gives_answer
        if kind not in self._known_examples:
            replies = self._writer.examples(request.quality, gives_answer=check.gives_answer)
            self._known_examples[kind] = Examples.of(
                document for reply in replies for document in parse_reply(reply, 100).documents
            )
        return self._known_examples[kind]

    def __copy__(self) -> SimulatedEngine:
        return self

    def __deepcopy__(self, memo: object) -> SimulatedEngine:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._given, self.settings)


@dataclass(slots=True)
class _Record:
    """What happened while one request was answered, and when that must be over, by `time.monotonic()`."""

    deadline: float
    tries: int = 0
    dropped: int = 0
    cut: int = 0
    retries: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    model: str | None = None
    quality_checked: bool | None = None
    unmet: str | None = None

    def add(self, reply: ChatReply) -> None:
        self.retries += reply.retries
        self.input_tokens += reply.input_tokens
        self.output_tokens += reply.output_tokens
        self.cost += reply.cost
        self.model = _without_folder(reply.model)

    def as_metadata(self) -> dict[str, Any]:
        return {
            "quality_checked": self.quality_checked,
            "tries": self.tries,
            "unmet": self.unmet,
            "documents_dropped": self.dropped,
            "cut": self.cut,
            "retries": self.retries,
            "model": self.model,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
        }


def _without_folder(model: str) -> str:
    """A model's name for records; llama.cpp's server names its model by the path of its file."""
    return re.split(r"[\\/]", model)[-1] if model.lower().endswith(".gguf") else model


def _wrote_nothing(record: _Record) -> ChatError:
    tries = "1 try" if record.tries == 1 else f"{record.tries} tries"
    return ChatError(
        f"The model wrote no documents in {tries}: raise max_tokens, or take a model that follows instructions."
    )


_CLIENT_OPTIONS = frozenset(f.name for f in fields(ClientSettings)) - {"base_url", "model"}
_LOCAL_OPTIONS = frozenset(f.name for f in fields(InProcessSettings) if f.init) - {"simulation_llm"}
_OPTIONS = frozenset(f.name for f in fields(SimulationSettings)) - {"mode", "check"}


def _make(
    mode: Literal["prompt", "sft"],
    /,
    simulation_llm: str | None = None,
    base_url: str | Sequence[str] | None = None,
    check: bool | None = None,
    **options: Any,
) -> SimulatedEngine:
    local = base_url is None and is_in_process(simulation_llm)
    if base_url is None and not local:
        raise ConfigError(
            f"Search mode 'simulate_{mode}' needs base_url, the address of an OpenAI-compatible server (sglang, vLLM, "
            "llama.cpp's), such as http://127.0.0.1:6001/v1; or a model for this process as simulation_llm: 'smollm2' "
            f"or the path of a .gguf file (got {simulation_llm!r})."
        )
    reaching = _LOCAL_OPTIONS if local else _CLIENT_OPTIONS
    taken = _OPTIONS | reaching | ({"simulator"} if mode == "sft" else set())
    unknown = sorted(set(options) - taken)
    if unknown:
        known = ", ".join(["simulation_llm", "base_url", "check", *sorted(taken)])
        raise ConfigError(
            f"Search mode 'simulate_{mode}' doesn't take {', '.join(map(repr, unknown))} with "
            f"{'a model in this process' if local else 'a server'}. It takes {known}."
        )
    client = {name: value for name, value in options.items() if name in reaching}
    simulation = {name: value for name, value in options.items() if name in _OPTIONS}
    if mode == "sft" and options.get("compat") is None:
        simulation = {**_learnt(options.get("simulator"), simulation_llm if local else None), **simulation}
    settings = SimulationSettings(mode=mode, check=check, **simulation)
    if base_url is None:
        assert simulation_llm is not None
        return SimulatedEngine(InProcessSettings(simulation_llm=simulation_llm, **client), settings)
    return SimulatedEngine(ClientSettings(base_url=base_url, model=simulation_llm, **client), settings)


def _learnt(simulator: str | PathLike[str] | None, local: str | None) -> dict[str, Any]:
    """The options that a tuned simulator learnt to be asked with; none where nothing is known of it."""
    if simulator is None:
        return {} if local is None else simulation_options(read_simulator(find_gguf(local)))
    record = read_simulator(Path(simulator).expanduser())
    if record is None:
        raise ConfigError(
            f"simulator={str(simulator)!r} must be the folder or the .gguf file of a simulator that was tuned here, or "
            "its simulator.json; there are no settings of one. Leave it out, and give persona, prompts and so on."
        )
    return simulation_options(record)


def simulate_prompt(
    simulation_llm: str | None = None,
    base_url: str | Sequence[str] | None = None,
    check: bool | None = None,
    **options: Any,
) -> SimulatedEngine:
    """The engine of `search_mode="simulate_prompt"`: an instruct model with a few-shot prompt.

    Args:
        simulation_llm: The model's name on the server; left out: the one that it serves. Without `base_url`, a model
            to load in this process: "smollm2" or the path of a `.gguf` file.
        base_url: The server's address, or several.
        check: Whether documents are checked; left out: yes.
        **options: Attributes of `SimulationSettings`, and of `ClientSettings` or `InProcessSettings`.

    Raises:
        ConfigError: An option is wrong, or unknown, or `base_url` is missing.
        MissingPackageError: `aiohttp`, `xllamacpp` or the model's wheel is needed and isn't installed.
    """
    return _make("prompt", simulation_llm, base_url, check, **options)


def simulate_sft(
    simulation_llm: str | None = None,
    base_url: str | Sequence[str] | None = None,
    check: bool | None = None,
    **options: Any,
) -> SimulatedEngine:
    """The engine of `search_mode="simulate_sft"`: a fine-tuned simulator with the paper's short prompt.

    The arguments are those of `simulate_prompt`, and `simulator`: the folder or file of a simulator that was tuned
    here, which says with which prompts, persona, style, language and length it learnt to be asked. A model in this
    process says so itself. Options that are given come before that.
    """
    return _make("sft", simulation_llm, base_url, check, **options)
