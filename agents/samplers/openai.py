"""A policy on any OpenAI-compatible server: for evaluation, never for training.

A server speaks text. So there is no tokenizer here (`CharacterCodec`: a "token" is a character, and budgets are
scaled), and nothing of the distribution that tokens were drawn from. Conversations run side by side; each turn is one
request, with the time-outs, retries and keys of `zs_env.engines.llm.client`.

Two ways to ask:

- `chat`: the first observation is the user's first message, what the policy said the assistant's, and what the
  environment said after it the user's next. Where a policy is to go on in the middle of its own turn (it quoted a stop
  string in a thought), its words so far are the last message; servers differ in whether they continue them.
- `completions`: the whole transcript is the prompt, for base models.

Servers cut stop strings off. Which one it was, some say (vLLM's `stop_reason`, sglang's `matched_stop`); else it is
taken to be the end tag of what is open: a policy that ended its turn in the middle of `<search>…` is then taken to have
closed it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, get_args

from agents.codec import CharacterCodec
from agents.samplers.base import (
    ConversationKey,
    FinishReason,
    Generation,
    GenerationRequest,
    SamplingSettings,
    submit_all,
)
from zs_env.bridge import run_blocking, start
from zs_env.engines.http import Call, Wording
from zs_env.engines.http.connections import Pool
from zs_env.engines.llm.client import ChatClient, ClientSettings
from zs_env.engines.llm.endpoints import redact
from zs_env.engines.llm.replies import read_models, read_reply
from zs_env.errors import ChatError, ConfigError, ServiceError

__all__ = ["CHARACTERS_PER_TOKEN", "UNTRAINABLE", "OpenAISampler", "PolicyApi", "Usage", "put_stop_back"]

PolicyApi = Literal["chat", "completions"]
"""How a server is asked; see the module."""

UNTRAINABLE = (
    "a server gives text, without the ids that were sampled or their log-probs under the distribution that they were "
    "drawn from, so there is no ratio to train with. Train with 'transformers' or 'vllm'."
)

CHARACTERS_PER_TOKEN = 4
"""What a token of a budget is taken to be, where texts are counted in characters: about what English has."""

_TAG = re.compile(r"<(/?)(think|search|answer)>")


def put_stop_back(text: str, stop_strings: Sequence[str], told: object = None) -> tuple[str, bool]:
    """A text whose generation stopped of its own accord, with the stop string that its server cut off.

    Args:
        text: What the server sent.
        stop_strings: What it was asked to stop at.
        told: What the server says that it stopped at, if it does.

    Returns:
        The text up to and with the first stop string, and whether there is one.

    Examples:
        >>> put_stop_back("<think>hm</think><search>capital of Kenya", ("</search>", "</answer>"))
        ('<think>hm</think><search>capital of Kenya</search>', True)
        >>> put_stop_back("I don't know.", ("</search>", "</answer>"))
        ("I don't know.", False)
    """
    ends = [text.find(stop) + len(stop) for stop in stop_strings if stop in text]
    if ends:  # it was left in, or the server doesn't stop
        return text[: min(ends)], True
    if isinstance(told, str) and told in stop_strings:
        return text + told, True
    tags = list(_TAG.finditer(text))
    if tags and not tags[-1].group(1):
        stop = f"</{tags[-1].group(2)}>"
        if stop in stop_strings:
            return text + stop, True
    return text, False


@dataclass(slots=True)
class Usage:
    """What the server was asked for so far.

    Attributes:
        num_requests: Requests that were answered.
        num_failed: Requests that weren't, after all their tries.
        prompt_tokens: As the server counts; 0 if it doesn't.
        completion_tokens: Likewise.
        served_as: The names by which the server called its model.
    """

    num_requests: int = 0
    num_failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    served_as: set[str] = field(default_factory=set)

    def to_json(self) -> dict[str, Any]:
        """In plain JSON types; tokens are None where the server doesn't count."""
        return {
            "num_requests": self.num_requests,
            "num_failed": self.num_failed,
            "prompt_tokens": self.prompt_tokens or None,
            "completion_tokens": self.completion_tokens or None,
        }


@dataclass(slots=True)
class _Dialogue:
    """What a conversation was so far: its messages, and how many ids of its prompts they cover."""

    messages: list[dict[str, str]] = field(default_factory=list)
    covered: int = 0

    def say(self, role: str, text: str) -> None:
        if not text:  # servers refuse empty messages
            return
        if self.messages and self.messages[-1]["role"] == role:
            self.messages[-1] = {"role": role, "content": self.messages[-1]["content"] + text}
        else:
            self.messages.append({"role": role, "content": text})


class OpenAISampler:
    """Plays a server's model; a `StreamingSampler` and a `RememberingSampler`.

    Args:
        server: How it is reached. Without a `model`, the server's one model is played.
        settings: How tokens are drawn; the server does it.
        api: See `PolicyApi`.
        system: A system message before the first observation; none if left out. For `chat` alone.
        send_seed: Whether the server is told each request's seed. Not every server takes one.
        options: What else stands in each request, over what is there anyway; None takes a key out.

    Attributes:
        codec: What rollouts with it need.
        usage: What it was asked for so far, by this sampler and those that `with_settings` made of it.
        untrainable: Why nothing can be trained with it.

    Raises:
        ConfigError: The API is unknown.
        MissingPackageError: `aiohttp` isn't installed.
    """

    untrainable: ClassVar[str] = UNTRAINABLE

    def __init__(
        self,
        server: ClientSettings,
        settings: SamplingSettings | None = None,
        *,
        api: PolicyApi = "chat",
        system: str | None = None,
        send_seed: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        if api not in get_args(PolicyApi):
            raise ConfigError(f"api must be 'chat' or 'completions'; got {api!r}.")
        self.settings = settings or SamplingSettings()
        self.api = api
        self.codec = CharacterCodec()
        self.usage = Usage()
        self.weight_version = 0
        self._client = _PolicyClient(server)
        self._system = system
        self._send_seed = send_seed
        self._options = dict(options or {})
        self._dialogues: dict[ConversationKey, _Dialogue] = {}

    def with_settings(self, settings: SamplingSettings) -> OpenAISampler:
        """A sampler of the same server that draws in another way; both count in one `usage`."""
        other = object.__new__(OpenAISampler)
        other.__dict__.update(self.__dict__, settings=settings, _dialogues={})
        return other

    def submit(self, request: GenerationRequest) -> Future[Generation]:
        """Ask for one continuation; see `StreamingSampler.submit`.

        `max_new_tokens` is in characters, of which `CHARACTERS_PER_TOKEN` are asked for as a token.

        Returns:
            The generation, whose log-probs are 0 for want of any; or a `ChatError`.
        """
        return start(self._continue(request))

    def generate(self, requests: Sequence[GenerationRequest]) -> list[Generation]:
        """Continue every prompt, side by side; see `Sampler.generate`."""
        return submit_all(self, requests)

    def forget(self, conversations: Collection[ConversationKey]) -> None:
        """Let go of what was said in these."""
        for key in conversations:
            self._dialogues.pop(key, None)

    def remember(self, request: GenerationRequest, generation: Generation) -> None:
        """Take a turn for said that was not asked for here, because it is known from before."""
        if self.api == "chat":
            self._note_turn(self._dialogue(request), request, generation.text)

    def _note_turn(self, dialogue: _Dialogue, request: GenerationRequest, text: str) -> None:
        dialogue.say("assistant", text)
        dialogue.covered = len(request.prompt_ids) + len(text)

    def record(self) -> dict[str, Any]:
        """What a record says of it, in plain JSON types: the model and what it took, and not where it is."""
        return {
            "model": _shown(self._client.settings.model),
            "served_as": sorted(filter(None, map(_shown, self.usage.served_as))),
            "api": self.api,
            "options": self._options,
            "characters_per_token": CHARACTERS_PER_TOKEN,
            "usage": self.usage.to_json(),
        }

    def model_name(self) -> str:
        """What the model is called: as the settings say, else as its server does; of a folder there the last part.

        Raises:
            ServiceError: The settings don't say, and the server can't be asked, or serves several.
        """
        named = self._client.settings.model or run_blocking(self._client.served_model())
        return _shown(named) or named

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    async def _continue(self, request: GenerationRequest) -> Generation:
        dialogue = self._dialogue(request) if self.api == "chat" else None
        try:
            reply = await self._client.complete(self._body(request, dialogue), api=self.api, seed=request.seed)
        except ServiceError as error:
            self.usage.num_failed += 1
            raise type(error)(f"The policy's server: {error}") from error
        usage = self.usage
        usage.num_requests += 1
        usage.prompt_tokens += reply.prompt_tokens
        usage.completion_tokens += reply.completion_tokens
        usage.served_as.add(reply.model)
        text, stopped = reply.text, False
        if not reply.cut:
            text, stopped = put_stop_back(text, self.settings.stop_strings, reply.stopped_at)
        ids = tuple(self.codec.encode(text))
        if dialogue is not None:
            self._note_turn(dialogue, request, text)
        reason: FinishReason = "length" if reply.cut else "stop" if stopped else "eos"
        return Generation(
            ids=ids,
            logprobs=(0.0,) * len(ids),
            finish_reason=reason,
            weight_version=self.weight_version,
            text=text,
            usage=(reply.prompt_tokens, reply.completion_tokens) if reply.prompt_tokens else None,
        )

    def _dialogue(self, request: GenerationRequest) -> _Dialogue:
        """The conversation with what came to its prompt since its last turn."""
        dialogue = self._dialogues.get(request.conversation) if request.conversation is not None else None
        if dialogue is None:
            dialogue = _Dialogue()
            if self._system is not None:
                dialogue.say("system", self._system)
            if request.conversation is not None:
                self._dialogues[request.conversation] = dialogue
        dialogue.say("user", self.codec.decode(request.prompt_ids[dialogue.covered :]))
        dialogue.covered = len(request.prompt_ids)
        return dialogue

    def _body(self, request: GenerationRequest, dialogue: _Dialogue | None) -> dict[str, Any]:
        settings = self.settings
        body: dict[str, Any] = {
            "max_tokens": math.ceil(request.max_new_tokens / CHARACTERS_PER_TOKEN),
            "temperature": 0.0 if settings.greedy else settings.temperature,
            "top_p": settings.top_p if settings.top_p < 1 and not settings.greedy else None,
            "top_k": settings.top_k or None,
            "stop": list(settings.stop_strings) or None,
            "seed": request.seed % 2**31 if self._send_seed else None,
            "stream": False,
        }
        if dialogue is None:
            body["prompt"] = self.codec.decode(request.prompt_ids)
        else:
            body["messages"] = list(dialogue.messages)
        return {name: value for name, value in (body | self._options).items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reply:
    text: str
    cut: bool
    stopped_at: object
    model: str
    prompt_tokens: int
    completion_tokens: int


class _PolicyClient(ChatClient):
    wording: ClassVar[Wording] = replace(
        ChatClient.wording,
        asking="Playing a server's model",
        if_missing="--model and --policy-url",
        if_refused="--model, the token limits, and whether the server takes chats (or else --policy-api completions)",
    )

    async def complete(self, body: dict[str, Any], *, api: PolicyApi, seed: int) -> _Reply:
        """One turn of the policy.

        Raises:
            ServiceError: No server gave a usable reply within the settings' limits.
        """
        path = "/chat/completions" if api == "chat" else "/completions"

        async def attempt(pool: Pool, url: str, call: Call) -> _Reply:
            model = self.settings.model or await self._learn(pool, url, call.deadline, self._served_model)
            payload = await self._request(pool, "POST", url, path, {"model": model, **body}, call.deadline)
            if api == "completions":
                payload = _as_chat(payload)
            text, cut, read, written = read_reply(payload, url)
            choice = payload["choices"][0]
            told = choice.get("stop_reason") or choice.get("matched_stop")
            named = payload.get("model")
            return _Reply(
                text=text,
                cut=cut,
                stopped_at=told,
                model=redact(named, self.settings.key_for(url)) if isinstance(named, str) and named else model,
                prompt_tokens=read,
                completion_tokens=written,
            )

        return await self._call(attempt, seed=seed)

    async def served_model(self) -> str:
        """The name of the one model that the server serves.

        Raises:
            ServiceError: It can't be asked, or serves several.
        """

        async def attempt(pool: Pool, url: str, call: Call) -> str:
            return await self._learn(pool, url, call.deadline, self._served_model)

        return await self._call(attempt, seed=0)

    async def _served_model(self, pool: Pool, url: str) -> str:
        names = read_models(await self._request(pool, "GET", url, "/models", None, math.inf))
        if len(names) == 1 and names[0]:
            return names[0]
        shown = redact(", ".join(names[:10]), self.settings.key_for(url))
        raise ChatError(
            f"{url} serves {len(names)} models{f' ({shown})' if names else ''}, so that one must be named: give "
            "--model."
        )


def _shown(model: str | None) -> str | None:
    """The name of a model; of a folder on the server's machine the last part alone."""
    return model.rstrip("/").rpartition("/")[2] if model and model.startswith("/") else model


def _as_chat(payload: dict[str, Any]) -> dict[str, Any]:
    """A text completion, as a chat completion has it."""
    choices = payload.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict) or not isinstance(choice.get("text"), str):
        return payload
    return {**payload, "choices": [{**choice, "message": {"content": choice["text"]}}]}
