"""Examples as token ids: the prompt exactly as a server will see it, and a completion that ends its turn.

A server lays the messages of a request into the model's chat template and asks for the turn of the assistant. So the
prompt's ids are those of the template with the prompt to generate; the completion is what the template makes of the
assistant's message behind it, up to its end-of-turn token, which is learned too. What a template writes behind that
token (a newline, often) belongs to the next turn, and no server waits for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from zs_env.errors import ConfigError
from zs_env.tuning.records import Example

__all__ = ["IGNORED", "Encoded", "EncodedSet", "encode", "encode_all", "find_end_of_turn"]

IGNORED = -100
"""The label of a token that isn't learned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """An example as token ids.

    Attributes:
        prompt: What the model is given.
        completion: What it is to write, the end of its turn with it.
        quality: "useful" or "noisy".
        search: The search that it was made of; None where that isn't known.
        in_answer: Whether each token of the completion is part of a golden answer.
    """

    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    quality: str
    search: str | None = None
    in_answer: tuple[bool, ...] = ()

    @property
    def input_ids(self) -> list[int]:
        """Prompt and completion."""
        return [*self.prompt, *self.completion]

    @property
    def labels(self) -> list[int]:
        """The same, but `IGNORED` in place of the prompt."""
        return [IGNORED] * len(self.prompt) + list(self.completion)

    def weights(self, answer: float) -> list[float]:
        """What each token counts in the loss: one, and those of an answer `answer`."""
        told = self.in_answer or (False,) * len(self.completion)
        return [1.0] * len(self.prompt) + [answer if inside else 1.0 for inside in told]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedSet:
    """The examples of a file that are short enough, and how many aren't."""

    examples: tuple[Encoded, ...]
    num_too_long: int

    @property
    def num_tokens(self) -> int:
        """Tokens of prompts and completions."""
        return sum(map(len, self.examples))

    @property
    def num_completion_tokens(self) -> int:
        """Tokens that are learned."""
        return sum(len(example.completion) for example in self.examples)


def find_end_of_turn(tokenizer: Any) -> int:
    """The token that ends the assistant's turn in the model's chat template.

    Raises:
        ConfigError: The tokenizer has no chat template, or one that ends a turn with no token of its own.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ConfigError(
            "The model's tokenizer has no chat template, and simulators are asked by chat: take an instruction-tuned "
            "model, or set `chat_template` in its tokenizer."
        )
    asked = [{"role": "system", "content": ""}, {"role": "user", "content": "a"}]
    ids = _continue(tokenizer, _render(tokenizer, asked, True), [*asked, {"role": "assistant", "content": "b"}])
    special = set(tokenizer.all_special_ids) | {
        index for index, token in tokenizer.added_tokens_decoder.items() if token.special
    }
    for token in ids:
        if token in special:
            return int(token)
    raise ConfigError(
        "The model's chat template ends the assistant's turn with no special token, so the model could never learn to "
        f"stop: it wrote {tokenizer.decode(ids)!r}. Take another model, or mend `chat_template` in its tokenizer."
    )


def encode(tokenizer: Any, example: Example, end_of_turn: int) -> Encoded:
    """Token ids of an example.

    Args:
        tokenizer: The model's.
        example: The example; its completion is one message of the assistant's.
        end_of_turn: See `find_end_of_turn`.

    Raises:
        ConfigError: The completion holds the end-of-turn token's text, or isn't one message of the assistant's.
    """
    if len(example.completion) != 1 or example.completion[0]["role"] != "assistant":
        raise ConfigError(
            f"A completion must be one message of the assistant's; that of the question {example.question.id!r} has "
            f"the roles {[message['role'] for message in example.completion]}."
        )
    prompt = [dict(message) for message in example.prompt]
    rendered = _render(tokenizer, prompt, True)
    messages = [*prompt, *(dict(message) for message in example.completion)]
    written = _continue(tokenizer, rendered, messages)
    if end_of_turn not in written:
        raise ConfigError(f"The chat template left out the end of the turn of the question {example.question.id!r}.")
    size = written.index(end_of_turn) + 1
    text = _render(tokenizer, messages, False)[len(rendered) :]
    search = example.metadata.get("search")
    return Encoded(
        prompt=tuple(_ids(tokenizer, rendered)),
        completion=tuple(written[:size]),
        quality=example.quality,
        search=None if search is None else str(search),
        in_answer=tuple(_in_answer(tokenizer, text, example.question.golden_answers)[:size]),
    )


def _in_answer(tokenizer: Any, text: str, golden_answers: Sequence[str]) -> list[bool]:
    """Whether each token of a text is part of a golden answer, as it is written, in any case of letters."""
    found = [
        match.span()
        for answer in golden_answers
        for match in re.finditer(rf"(?<!\w){re.escape(answer)}(?!\w)", text, re.IGNORECASE)
    ]
    if not found or not getattr(tokenizer, "is_fast", False):
        return []
    spans = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    return [any(start < end and first < end and start < last for first, last in found) for start, end in spans]


def encode_all(tokenizer: Any, examples: Iterable[Example], *, max_tokens: int) -> EncodedSet:
    """Token ids of examples, without those that are too long: a cut one would teach to end in mid-sentence."""
    end = find_end_of_turn(tokenizer)
    encoded = [encode(tokenizer, example, end) for example in examples]
    kept = tuple(example for example in encoded if len(example) <= max_tokens)
    return EncodedSet(examples=kept, num_too_long=len(encoded) - len(kept))


def _render(tokenizer: Any, messages: Sequence[dict[str, str]], asks: bool) -> str:
    text: str = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=asks)
    return text


def _continue(tokenizer: Any, rendered: str, messages: Sequence[dict[str, str]]) -> list[int]:
    """What the template writes behind the prompt, as ids of its own: that is how a server goes on from a prompt."""
    whole = _render(tokenizer, messages, False)
    if not whole.startswith(rendered):
        at = next((i for i, (one, other) in enumerate(zip(whole, rendered, strict=False)) if one != other), 0)
        raise ConfigError(
            "The model's chat template writes the prompt otherwise once a reply follows it, so that what is learned "
            f"isn't what is asked when it serves: {rendered[max(at - 20, 0) :][:60]!r} becomes "
            f"{whole[max(at - 20, 0) :][:60]!r}. Mend `chat_template` in its tokenizer, or take another model."
        )
    return _ids(tokenizer, whole[len(rendered) :])


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
