"""Policies that search a real engine so that its documents can be collected.

Those that are built in need no model. They search once or twice, and answer nothing:

- `question`: searches for the question itself;
- `keywords`: for its words that say something;
- `first-hop`: for the question, or the names in it if it takes several searches;
- `follow-up`: as `first-hop`, and then for a name that the documents brought, with the question's other words.

`FunctionPolicy` is a function of one's own, and `zs_env.tuning.policy_model` a language model.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from zs_env.engines.llm.checking import is_multi_hop
from zs_env.episode import Segment
from zs_env.errors import ConfigError
from zs_env.measuring.cases import QUERIES, Queries, make_query, names_in
from zs_env.types import Question, SearchResult

__all__ = ["BUILT_IN", "FollowUpPolicy", "FunctionPolicy", "Policy", "QueryPolicy", "Turn", "make_policy"]

BUILT_IN: tuple[str, ...] = (*QUERIES, "follow-up")
"""The policies that need nothing but their name."""

_TAGS = re.compile(r"</?(?:think|search|answer|information)>")
_NAMES_FROM_CHARS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What a policy may know when it is to act.

    Attributes:
        question: The episode's question. Its golden answers are not for policies.
        transcript: The whole text so far, as an environment's observation.
        segments: The same in parts, each with who wrote it.
        results: What the episode's searches gave, in order.
        seed: The draw of this action, in [0, 2**63).
    """

    question: Question
    transcript: str
    segments: tuple[Segment, ...]
    results: tuple[SearchResult, ...]
    seed: int


class Policy(Protocol):
    """Whatever searches."""

    @property
    def draws(self) -> bool:
        """Whether another attempt at the same question may go another way."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """What its actions depend on, in plain JSON types, without secrets and addresses; `name` is among it."""

    async def act(self, turn: Turn) -> str | None:
        """The next action; None if it has no more to ask, which ends the episode without an answer.

        It may raise whatever it likes: then this episode has failed, and no other.
        """


@dataclass(frozen=True, slots=True)
class QueryPolicy:
    """Searches once, for a query that is made of the question.

    Attributes:
        queries: How.
    """

    queries: Queries
    draws: ClassVar[bool] = False

    @property
    def identity(self) -> dict[str, Any]:
        """Its name."""
        return {"name": self.queries}

    async def act(self, turn: Turn) -> str | None:
        """One search, then None."""
        return None if turn.results else _search(_first_query(turn.question, self.queries))


@dataclass(frozen=True, slots=True)
class FollowUpPolicy:
    """Searches as `first-hop`, and then once for the first name in the documents that the question doesn't hold."""

    draws: ClassVar[bool] = False

    @property
    def identity(self) -> dict[str, Any]:
        """Its name."""
        return {"name": "follow-up"}

    async def act(self, turn: Turn) -> str | None:
        """Up to two searches, then None."""
        first = _first_query(turn.question, "first-hop")
        if not turn.results:
            return _search(first)
        name = _new_name(turn) if len(turn.results) == 1 else None
        if name is None:
            return None
        asked = {word.casefold() for word in first.split()} if is_multi_hop(turn.question) else set()
        words = make_query(turn.question.question, "keywords", multi_hop=False).split()
        return _search(" ".join([name, *(word for word in words if word.casefold() not in asked)]))


def _first_query(question: Question, queries: Queries) -> str:
    return make_query(question.question, queries, is_multi_hop(question))


def _new_name(turn: Turn) -> str | None:
    asked = turn.question.question.casefold()
    for document in turn.results[0].documents:
        for name in (*([document.title] if document.title else []), *names_in(document.text[:_NAMES_FROM_CHARS])):
            plain = re.sub(r"\s*\([^)]*\)", "", name).strip()
            if plain and plain.casefold() not in asked:
                return plain
    return None


def _search(query: str) -> str:
    return f"<search>{_TAGS.sub(' ', query)}</search>"


class FunctionPolicy:
    """A function of one's own: `policy(observation) -> action`, plain or `async`.

    The observation is the transcript so far; the action is text, or None if there is no more to ask. A plain function
    is called where the event loop runs, so that one which waits holds up the other episodes: make it `async`.

    Args:
        function: The function.
        name: What it is called in records.
        fingerprint: A short hash of its code, where that is known.
    """

    draws = True

    def __init__(self, function: Callable[[str], Any], *, name: str, fingerprint: str | None = None) -> None:
        self._function = function
        self._identity = {"name": name, "fingerprint": fingerprint}

    @property
    def identity(self) -> Mapping[str, Any]:
        """Its name and the hash of its code."""
        return self._identity

    async def act(self, turn: Turn) -> str | None:
        """What the function says."""
        action = self._function(turn.transcript)
        if inspect.isawaitable(action):
            action = await action
        return action  # type: ignore[no-any-return]  # the episode sees that it is text


def make_policy(name: str, *, flag: str = "--policy") -> Policy:
    """The policy of a name: one that is built in, or a function as `module:function` or `path.py:function`.

    Args:
        name: Its name.
        flag: Where the name was given, for messages.

    Raises:
        ConfigError: There is no such policy.
    """
    if name in QUERIES:
        return QueryPolicy(name)
    if name == "follow-up":
        return FollowUpPolicy()
    where, colon, attribute = name.rpartition(":")
    if not colon or not where or not attribute:
        raise ConfigError(
            f"Unknown policy {name!r}: give one of {', '.join(BUILT_IN)}; a function as module:function or "
            "path.py:function; or the address of a model's server as --policy-url."
        )
    module = _load_file(Path(where), flag) if where.endswith(".py") else _load_module(where, flag)
    function = getattr(module, attribute, None)
    if not callable(function):
        raise ConfigError(f"{where} has no function {attribute!r}, which {flag} {name} asks for; it has {function!r}.")
    source = getattr(module, "__file__", None)
    code = Path(source).read_bytes() if source and Path(source).is_file() else None
    shown = f"{Path(where).name if where.endswith('.py') else where}:{attribute}"
    fingerprint = None if code is None else hashlib.sha256(code).hexdigest()[:16]
    return FunctionPolicy(function, name=shown, fingerprint=fingerprint)


def _load_module(name: str, flag: str) -> Any:
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise ConfigError(
            f"The module {name!r} of {flag} can't be imported: {type(error).__name__}: {error}."
        ) from error


def _load_file(path: Path, flag: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"_policy_{path.stem}", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise ConfigError(f"There is no file {str(path)!r}, which {flag} names.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConfigError(f"{str(path)!r} of {flag} can't be run: {type(error).__name__}: {error}.") from error
    return module
