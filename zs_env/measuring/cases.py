"""What is asked: for each question, the same query once for useful documents and once for noisy ones."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from zs_env.engines.decoys import SMALL_WORDS
from zs_env.engines.llm.checking import MULTI_HOP_SOURCES, is_multi_hop
from zs_env.questions import load_questions
from zs_env.types import Quality, Question, QuestionSource, SearchRequest

__all__ = [
    "ASKED",
    "QUALITIES",
    "QUERIES",
    "Asked",
    "Case",
    "Queries",
    "draw_indices",
    "load_cases",
    "make_query",
    "names_in",
    "search_seed",
    "with_hops",
]

Queries = Literal["first-hop", "question", "keywords"]
"""How queries are made of questions.

- `first-hop`: the question itself; of a question of several hops, the names in it, as a first search would ask for.
- `question`: the question itself.
- `keywords`: the question's words that say something.
"""

Asked = Queries | Literal["given"]
"""Where queries come from: made of questions, or `given`, the `search_query` of a question's row, as a policy made it;
without one, as `first-hop`.
"""

_GIVEN = "search_query"

QUERIES: tuple[Queries, ...] = get_args(Queries)
ASKED: tuple[Asked, ...] = (*QUERIES, "given")
QUALITIES: tuple[Quality, ...] = ("useful", "noisy")

_PICK_KEY = 8_031
_PART = re.compile(r"[\w.'’&-]+")
_QUOTED = re.compile(r"[\"“]([^\"”]{2,80})[\"”]")
_CAPITAL = r"(?:[^\W\d_a-z][\w.'’&-]*|\d+[\w'’-]*)"
_NAME = re.compile(rf"\b{_CAPITAL}(?: (?:(?:of|the|and|in|de|la|von|van|for|to|a) ){{0,2}}{_CAPITAL})*")
_ASKING = SMALL_WORDS | frozenset("name many much often long year please tell me".split())  # noqa: SIM905


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One search to measure.

    Attributes:
        request: What is asked.
        multi_hop: Whether the question takes several searches.
        source: The name of the questions that it is from.
    """

    request: SearchRequest
    multi_hop: bool
    source: str


def load_cases(
    paths: Sequence[str],
    *,
    split: str | None,
    limit: int | None,
    queries: Asked,
    hops: int | None,
    topk: int,
    seed: int,
) -> tuple[list[Case], list[QuestionSource]]:
    """The searches for some sources of questions, useful and noisy in turn.

    Args:
        paths: What `load_questions` takes.
        split: Of each source.
        limit: Questions of each source, drawn by the seed; all of them if left out.
        queries: Where queries come from.
        hops: How many searches a question takes, for sources that don't say so themselves.
        topk: Documents a search.
        seed: Of the draw of questions and of the searches.

    Returns:
        The searches, and the sources.

    Raises:
        ConfigError, QuestionError: A source can't be read.
    """
    cases, sources = [], []
    for path in paths:
        source = load_questions(path, split)
        sources.append(source)
        for index in draw_indices(len(source), limit, seed):
            question = with_hops(source[index], source.name, hops)
            multi_hop = is_multi_hop(question)
            query = question.metadata.get(_GIVEN) if queries == "given" else None
            if not isinstance(query, str) or not query.strip():
                made: Queries = "first-hop" if queries == "given" else queries
                query = make_query(question.question, made, multi_hop)
            if len(paths) > 1:
                question = replace(question, id=f"{source.name}:{question.id}")
            for quality in QUALITIES:
                request = SearchRequest(
                    query=query.strip(),
                    question=question,
                    quality=quality,
                    noise_probability=0.5,
                    seed=search_seed(seed, question.id),
                    topk=topk,
                )
                cases.append(Case(request=request, multi_hop=multi_hop, source=source.name))
    return cases, sources


def draw_indices(count: int, limit: int | None, seed: int) -> list[int]:
    """Which of `count` questions are asked: so many as `limit` says, of an order that the seed alone gives."""
    order = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_PICK_KEY,))).permutation(count)
    return [int(index) for index in order[:limit]]


def search_seed(seed: int, question_id: str) -> int:
    """A draw that doesn't depend on which other questions are asked."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{question_id}".encode()).digest()[:8], "big") >> 1


def with_hops(question: Question, source: str, hops: int | None) -> Question:
    """The question with `hops` in its metadata, by the option or else by what its source's name says."""
    metadata = dict(question.metadata)
    if hops is not None:
        metadata["hops"] = hops
    elif "hops" not in metadata and "data_source" not in metadata:
        plain = re.sub(r"[^a-z0-9]", "", source.casefold())
        named = [name for name in MULTI_HOP_SOURCES if name in plain]
        metadata["hops"] = 2 if named else 1
    return replace(question, metadata=metadata)


def make_query(question: str, queries: Queries, multi_hop: bool) -> str:
    """What a policy might search for.

    Examples:
        >>> make_query("Who portrayed Corliss Archer in the film Kiss and Tell?", "first-hop", True)
        'Corliss Archer Kiss and Tell'
        >>> make_query("who wrote he ain't heavy he's my brother lyrics", "keywords", False)
        "wrote ain't heavy he's my brother lyrics"
    """
    plain = " ".join(question.split())
    if queries == "question" or (queries == "first-hop" and not multi_hop):
        return plain
    names = names_in(plain) if queries == "first-hop" else []
    words = [part for part in _PART.findall(plain) if part.casefold().strip(".'’") not in _ASKING]
    return " ".join(names or words) or plain


def names_in(question: str) -> list[str]:
    """Quoted titles and runs of capitals, but for a question's own first word, as far as it is a small one."""
    names = [match[1] for match in _QUOTED.finditer(question)]
    rest = _QUOTED.sub(" | ", question)
    for match in _NAME.finditer(rest):
        words = match[0].split()
        while words and words[0].casefold() in _ASKING:
            words = words[1:]
        name = " ".join(words).strip(".'’")
        if name and not name.isdigit():
            names.append(name)
    return list(dict.fromkeys(names))
