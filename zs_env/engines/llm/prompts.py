"""The prompts of simulated search: text files that users can replace, and the values that go into them.

A prompt file is plain text with placeholders: `{query}`, `{question}`, `{answers}` (all golden answers; of very many,
the first that fit into 1,500 characters), `{count}` (how many documents, as a word), `{documents}` ("document" or
"documents"), `{words}` (words a document), `{persona}`, `{style}` and `{language}`. A value is put in as it is: braces
in it are text.

A file may hold a chat with examples: a line that is `[system]`, `[user]` or `[assistant]` begins a turn of that role.
The last turn is the user's, and has `{query}`. A file without such lines is one turn of the user's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from zs_env.actions import clean_text
from zs_env.errors import ConfigError
from zs_env.types import SearchRequest

__all__ = ["PERSONAS", "PROMPT_FILES", "PromptWriter", "load_prompts", "read_turns"]

Mode = Literal["prompt", "sft"]

PROMPT_FILES: Mapping[Mode, tuple[str, ...]] = MappingProxyType(
    {"prompt": ("prompt_useful", "prompt_useful_step", "prompt_noisy"), "sft": ("sft_useful", "sft_noisy")}
)
"""The prompts of each mode: names of files, without `.txt`."""

PERSONAS: Mapping[str, str] = MappingProxyType(
    {
        "Google": "Its documents read like snippets of web pages of many kinds.",
        "Wikipedia": "Its documents read like passages of encyclopedia articles.",
    }
)
"""How the documents of known personas read. Any other text will do as a persona too, for example a domain."""

MAX_QUERY_CHARS = 2_000
MAX_QUESTION_CHARS = 8_000
MAX_ANSWERS_CHARS = 1_500

_PLACEHOLDER = re.compile(r"{([a-z_]+)}")
_TURN = re.compile(r"^\[(system|user|assistant)\][ \t]*\n", re.MULTILINE)
_VALUES = frozenset(("query", "question", "answers", "count", "documents", "words", "persona", "style", "language"))
_COUNTS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def load_prompts(
    mode: Mode, own: str | PathLike[str] | Mapping[str, str] | None = None, *, upstream: bool = False
) -> Mapping[str, str]:
    """Read the prompts of a mode: those that ship, and in their place one's own of the same name.

    Args:
        mode: "prompt" or "sft".
        own: The folder where one's own prompts lie (files of other modes may lie there too), or their texts by name,
            such as those that a tuned simulator learnt.
        upstream: Whether to read the paper's own, letter for letter.

    Raises:
        ConfigError: There are none of the mode's, or a prompt lacks `{query}`, or has a placeholder that
            doesn't exist.
    """
    if upstream:
        return {f"{mode}_{kind}": _shipped(f"upstream_{mode}_{kind}") for kind in ("useful", "noisy")}
    names = PROMPT_FILES[mode]
    prompts = {name: _shipped(name) for name in names}
    if isinstance(own, Mapping):
        texts = {name: own[name] for name in names if name in own}
        if not texts:
            raise ConfigError(f"prompts must hold at least one of {', '.join(names)}; got {sorted(own)}.")
        prompts |= {name: _checked(text, f"prompt {name!r}") for name, text in texts.items()}
    elif own is not None:
        given = {name: Path(own).expanduser() / f"{name}.txt" for name in names}
        given = {name: path for name, path in given.items() if path.is_file()}
        if not given:
            raise ConfigError(
                f"prompts={str(own)!r} must be a folder with at least one of {', '.join(f'{n}.txt' for n in names)};"
                f" it has none. Those that ship lie in {Path(__file__).parent / 'prompts'}."
            )
        prompts |= {name: _own(path) for name, path in given.items()}
    return prompts


@cache
def _shipped(name: str) -> str:
    return (resources.files("zs_env.engines.llm") / "prompts" / f"{name}.txt").read_text(encoding="utf-8")


def _own(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The prompt {path} can't be read as UTF-8 text: {error}.") from error
    return _checked(text, f"prompt {path}")


def _checked(text: str, name: str) -> str:
    """A prompt, if it can be used."""
    if not isinstance(text, str):
        raise ConfigError(f"The {name} must be a text; got {text!r:.100}.")
    mark = _TURN.search(text)
    if mark is not None and text[: mark.start()].strip():
        raise ConfigError(
            f"The {name} has text before its first turn: begin it with a line that is [system], [user] or "
            f"[assistant]; it begins with {text.strip()[:50]!r}."
        )
    turns = read_turns(text)
    placeholders = set(_PLACEHOLDER.findall(text))
    if "{query}" not in turns[-1][1] or placeholders - _VALUES:
        raise ConfigError(
            f"The {name} must hold {{query}} (in its last turn, if it has several), and no placeholders but "
            f"{', '.join(f'{{{name}}}' for name in sorted(_VALUES))}; it holds {sorted(placeholders)}."
        )
    roles = [role for role, _ in turns]
    if roles[-1] != "user" or "system" in roles[1:]:
        raise ConfigError(
            f"The turns of the {name} must end with the user's, and a system's can only be the first; got "
            f"{', '.join(roles)}."
        )
    return text


def read_turns(text: str) -> tuple[tuple[str, str], ...]:
    r"""The turns of a prompt file: role and text of each.

    Examples:
        >>> read_turns("[user]\nHi\n[assistant]\nYes?\n[user]\nQuery: {query}\n")
        (('user', 'Hi'), ('assistant', 'Yes?'), ('user', 'Query: {query}'))
        >>> read_turns("Query: {query}\nOutput:\n")
        (('user', 'Query: {query}\nOutput:\n'),)
    """
    marks = list(_TURN.finditer(text))
    if not marks or text[: marks[0].start()].strip():
        return (("user", text),)
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    return tuple((mark[1], text[mark.end() : end].strip("\n")) for mark, end in zip(marks, ends, strict=True))


class _Turn:
    """A turn of a prompt. One that is the same for all requests has its values in it, and one message for all."""

    __slots__ = ("is_whole", "message", "role", "text")

    def __init__(self, role: str, text: str, is_whole: bool) -> None:
        self.role, self.text, self.is_whole = role, text, is_whole
        self.message = {"role": role, "content": text}


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptWriter:
    """Writes the prompt of a request.

    Attributes:
        mode: "prompt" or "sft".
        prompts: What `load_prompts` gave.
        persona: Which search engine the model plays.
        style: How its documents read; left out: what `PERSONAS` says, or that they come from there.
        language: The language of the documents.
        document_words: About how many words a document has.
        upstream: Whether to fill the prompt as the paper's code does: the first golden answer alone.
    """

    mode: Mode
    prompts: Mapping[str, str]
    persona: str = "Google"
    style: str | None = None
    language: str = "English"
    document_words: int = 30
    upstream: bool = False
    _fixed: dict[str, str] = field(init=False, repr=False, default_factory=dict)
    _turns: dict[str, tuple[_Turn, ...]] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        style = PERSONAS.get(self.persona, f"Its documents read like passages from {self.persona}.")
        self._fixed.update(
            persona=self.persona,
            style=style if self.style is None else self.style,
            language=self.language,
            words=str(self.document_words),
        )
        for name, text in self.prompts.items():
            self._turns[name] = tuple(map(self._as_turn, read_turns(text)))

    def write(self, request: SearchRequest, *, count: int, gives_answer: bool) -> list[dict[str, str]]:
        """The messages of a request, each with `role` and `content`; they are shared, and not to be changed.

        Args:
            request: The request.
            count: How many documents to ask for.
            gives_answer: Whether useful documents may hold the question's final answer.
        """
        turns = self._turns[self._name(request.quality, gives_answer)]
        question = request.question
        if self.upstream:
            values = {"query": request.query, "question": question.question, "answers": question.golden_answers[0]}
        else:
            values = {
                **self._fixed,
                "query": _cut(request.query, MAX_QUERY_CHARS),
                "question": _cut(question.question, MAX_QUESTION_CHARS),
                "answers": _joined(question.golden_answers),
                "count": _COUNTS[count] if count < len(_COUNTS) else str(count),
                "documents": "document" if count == 1 else "documents",
            }
        return [
            turn.message if turn.is_whole else {"role": turn.role, "content": clean_text(_fill(turn.text, values))}
            for turn in turns
        ]

    def examples(self, quality: str, *, gives_answer: bool) -> tuple[str, ...]:
        """What the model says in the examples of the prompt that a request gets."""
        turns = self._turns[self._name(quality, gives_answer)]
        return tuple(turn.text for turn in turns if turn.role == "assistant")

    def _as_turn(self, turn: tuple[str, str]) -> _Turn:
        role, text = turn
        is_whole = set(_PLACEHOLDER.findall(text)) & _VALUES <= self._fixed.keys()
        if is_whole:
            text = clean_text(_fill(text, {} if self.upstream else self._fixed))
        return _Turn(role, text, is_whole)

    def _name(self, quality: str, gives_answer: bool) -> str:
        step = f"{self.mode}_useful_step"
        return step if quality == "useful" and not gives_answer and step in self.prompts else f"{self.mode}_{quality}"


def _joined(golden_answers: Sequence[str]) -> str:
    """All golden answers, each once; of very many or very long ones, the first that fit."""
    answers = list(dict.fromkeys(" ".join(answer.split()) for answer in golden_answers))
    left = MAX_ANSWERS_CHARS - len(answers[0])
    kept = [_cut(answers[0], MAX_ANSWERS_CHARS)]
    for answer in answers[1:]:
        left -= len(answer) + 4
        if left < 0:
            break
        kept.append(answer)
    return " or ".join(kept)


def _fill(text: str, values: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), text)


def _cut(text: str, max_chars: int) -> str:
    """A text on one line, which can't begin a round of its own in the prompt, and not longer than a prompt can bear."""
    text = " ".join(text.replace("\x00", " ").split())
    return text if len(text) <= max_chars else text[: max_chars - 1] + "…"
