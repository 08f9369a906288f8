"""From labelled documents to what a simulator is to learn: balanced prompts and completions.

A search gives at most two examples: one whose prompt asks for useful documents and one whose prompt asks, in nearly the
same words, for noisy ones. So whatever tells the two apart is the one word. Their documents are excerpts of those that
were found, about as long as the prompt says:

- *useful*: at least one excerpt of a document labelled useful that itself holds a golden answer, and then others of the
  same search that needn't, best first as engines rank, or at places drawn by the seed;
- *noisy*: none that holds a golden answer or a telling word of one. Sentences of a useful document that don't answer
  are noise too, and the best of it: they are about the very thing that is asked for.

Excerpts are taken in order of their likeness to the query, and a noisy example whose documents are far less like the
query than useful ones are is left out: noise is to stay on the topic.
"""

from __future__ import annotations

import hashlib
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from zs_env.engines.llm.prompts import PromptWriter, load_prompts
from zs_env.errors import ConfigError
from zs_env.likeness import TermWeights, near_repeats
from zs_env.matching import AnswerMatcher, find_matcher
from zs_env.questions.prepare.repeats import near_questions
from zs_env.tuning.excerpts import Excerpt, excerpts
from zs_env.tuning.records import Example, LabelledSearch
from zs_env.types import Quality, Question, SearchRequest

__all__ = ["BuildSettings", "Built", "build", "question_groups"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSettings:
    """What examples look like.

    Attributes:
        persona: Which search engine the prompt names.
        style: See `SimulationSettings`; the prompt has it only where its files do.
        language: The language of the documents.
        document_words: About how many words a document has.
        min_documents: The least documents of an example, where its search has as many.
        max_documents: The most documents of an example; how many it has is drawn evenly between the two.
        order: "best": documents that hold an answer come first, then by likeness to the query, as engines rank;
            "shuffled": useful examples have them at places drawn by the seed.
        fill: Whether useful examples are filled with documents of the same search that hold no answer.
        min_likeness: The least query similarity of a noisy example's documents, as a share of the median of useful
            ones, in [0, 1].
        max_a_question: The most searches of one question that give examples.
        balance: Whether as many noisy as useful examples are kept.
        prompts: A folder with one's own `sft_useful.txt` and `sft_noisy.txt`.
        held_out: The share of questions that are held out, in [0, 1).
        seed: Of what is drawn.
    """

    persona: str = "Google"
    style: str | None = None
    language: str = "English"
    document_words: int = 30
    min_documents: int = 1
    max_documents: int = 5
    order: Literal["best", "shuffled"] = "best"
    fill: bool = True
    min_likeness: float = 0.8
    max_a_question: int = 2
    balance: bool = True
    prompts: str | None = None
    held_out: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.order not in ("best", "shuffled"):
            raise ConfigError(f"order must be 'best' or 'shuffled'; got {self.order!r}.")
        for name, least in (
            ("document_words", 5),
            ("min_documents", 1),
            ("max_documents", self.min_documents),
            ("max_a_question", 1),
            ("seed", 0),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(f"{name} must be a whole number of at least {least}; got {value!r}.")
        for name, below in (("min_likeness", 1.0), ("held_out", 0.9)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= below:
                raise ConfigError(f"{name} must be a number in [0, {below}]; got {value!r}.")


@dataclass(slots=True)
class Built:
    """What came of it.

    Attributes:
        train: Examples to learn from.
        held_out: Examples of questions that none of those is about.
        questions: Of held-out questions, the first search that found a useful document.
        left_out: Why searches gave no useful or no noisy example, and how many.
    """

    train: list[Example] = field(default_factory=list)
    held_out: list[Example] = field(default_factory=list)
    questions: list[LabelledSearch] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    excerpt: Excerpt
    likeness: float
    holds: bool
    hints: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drawn:
    """The documents of one example, before it is known whether it stays."""

    search: LabelledSearch
    quality: Quality
    texts: tuple[str, ...]
    likeness: float


def build(searches: Sequence[LabelledSearch], settings: BuildSettings) -> Built:
    """Make the examples of labelled searches.

    Raises:
        ConfigError: The prompts can't be used, or nothing is left.
    """
    built = Built()
    writer = PromptWriter(
        mode="sft",
        prompts=load_prompts("sft", settings.prompts),
        persona=settings.persona,
        style=settings.style,
        language=settings.language,
        document_words=settings.document_words,
    )
    weights = TermWeights(
        [*(each.search.query for each in searches), *(d.text for each in searches for d in each.search.documents)]
    )
    taken = list(_first_of_each(searches, settings.max_a_question, built.left_out))
    drawn = [one for search in taken for one in _draw(search, weights, settings, built.left_out)]
    drawn = _on_topic(drawn, settings.min_likeness, built.left_out)
    held = _held_out(searches, settings)
    parts: dict[bool, list[_Drawn]] = {
        part: [one for one in drawn if (one.search.search.question.id in held) == part] for part in (False, True)
    }
    if settings.balance:
        parts = {part: _balanced(some, settings.seed, built.left_out) for part, some in parts.items()}
    built.train = [_example(one, writer) for one in parts[False]]
    built.held_out = [_example(one, writer) for one in parts[True]]
    if not built.train:
        reasons = ", ".join(f"{why}: {count}" for why, count in built.left_out.most_common()) or "there are no searches"
        raise ConfigError(
            f"No example could be made of {len(searches)} searches ({reasons}). Collect over a corpus that holds the "
            "answers of more questions, or lower min_likeness."
        )
    built.questions = list(_answered(searches, held).values())
    unanswered = held - {each.search.question.id for each in built.questions}
    built.left_out["held-out question: no useful document was found for it"] += len(unanswered)
    return built


def _answered(searches: Iterable[LabelledSearch], held: set[str]) -> dict[str, LabelledSearch]:
    """For each held-out question, its first search that found a useful document.

    A simulator is judged by what it was made for: training has only such searches, and questions that the collected
    documents know nothing of may be of quite another kind.
    """
    found: dict[str, LabelledSearch] = {}
    for each in searches:
        if each.search.question.id in held and any(label.quality == "useful" for label in each.labels):
            found.setdefault(each.search.question.id, each)
    return found


def _first_of_each(searches: Iterable[LabelledSearch], most: int, left_out: Counter[str]) -> Iterator[LabelledSearch]:
    """The first searches of each question, no query twice."""
    counts: Counter[str] = Counter()
    seen: set[tuple[str, str]] = set()
    for each in searches:
        question, query = each.search.question.id, each.search.query
        if (question, query.casefold()) in seen:
            left_out["the same query again"] += 1
        elif counts[question] >= most:
            left_out["one more search of a question"] += 1
        else:
            seen.add((question, query.casefold()))
            counts[question] += 1
            yield each


def _draw(
    labelled: LabelledSearch, weights: TermWeights, settings: BuildSettings, left_out: Counter[str]
) -> Iterator[_Drawn]:
    """A useful and a noisy example of a search, as far as its documents give them."""
    search = labelled.search
    matcher = find_matcher(tuple(search.question.golden_answers), search.question.question)
    if matcher.excluded is not None:
        left_out[f"answer can't be looked for: {matcher.excluded}"] += 1
        return
    generator = np.random.default_rng([settings.seed, _number(search.key)])
    candidates = _candidates(labelled, matcher, weights, settings)
    holding = _distinct([each for each in candidates if each.holds])
    free = _distinct([each for each in candidates if not each.holds and not each.hints])
    count = int(generator.integers(settings.min_documents, settings.max_documents + 1))
    if not holding:
        left_out["useful: no excerpt holds an answer"] += 1
    else:
        others = free if settings.fill else []
        chosen = [holding[0], *[*holding[1:], *others][: count - 1]]
        if settings.order == "shuffled":
            chosen = [chosen[int(place)] for place in generator.permutation(len(chosen))]
        yield _as_drawn(labelled, "useful", chosen)
    if not free:
        left_out["noisy: no excerpt is free of the answer and its telling words"] += 1
    else:
        yield _as_drawn(labelled, "noisy", free[:count])


def _as_drawn(labelled: LabelledSearch, quality: Quality, chosen: Sequence[_Candidate]) -> _Drawn:
    return _Drawn(
        search=labelled,
        quality=quality,
        texts=tuple(each.excerpt.text for each in chosen),
        likeness=statistics.fmean(each.likeness for each in chosen),
    )


def _candidates(
    labelled: LabelledSearch, matcher: AnswerMatcher, weights: TermWeights, settings: BuildSettings
) -> list[_Candidate]:
    """The excerpts of a search's documents, the likest to the query first."""
    found = []
    for number, (document, label) in enumerate(zip(labelled.search.documents, labelled.labels, strict=True)):
        if label.quality is None:
            continue
        for excerpt in excerpts(document, number=number, num_words=settings.document_words):
            holds = bool(matcher.is_held(excerpt.text))
            if holds and label.quality == "noisy":
                continue  # a judge says that it doesn't help, though it holds the answer: neither the one nor the other
            found.append(
                _Candidate(
                    excerpt=excerpt,
                    likeness=weights.similarity(labelled.search.query, excerpt.text),
                    holds=holds,
                    hints=bool(matcher.is_hinted(excerpt.text)),
                )
            )
    return sorted(found, key=lambda each: (-each.likeness, each.excerpt.document, each.excerpt.first))


def _distinct(candidates: Sequence[_Candidate]) -> list[_Candidate]:
    """Those that share no sentence, and don't nearly repeat another."""
    kept: list[_Candidate] = []
    repeats = near_repeats([each.excerpt.text for each in candidates])
    spans: dict[int, list[int]] = {}
    for each, earlier in zip(candidates, repeats, strict=True):
        near = spans.setdefault(each.excerpt.document, [])
        if not earlier and each.excerpt.first not in near:
            kept.append(each)
            near.extend((each.excerpt.first - 1, each.excerpt.first, each.excerpt.first + 1))
    return kept


def _on_topic(drawn: Sequence[_Drawn], least: float, left_out: Counter[str]) -> list[_Drawn]:
    useful = [one.likeness for one in drawn if one.quality == "useful"]
    bound = least * statistics.median(useful) if useful else 0.0
    kept = [one for one in drawn if one.quality == "useful" or one.likeness >= bound]
    left_out["noisy: too little like the query"] += len(drawn) - len(kept)
    return kept


def _balanced(drawn: Sequence[_Drawn], seed: int, left_out: Counter[str]) -> list[_Drawn]:
    """As many of one kind as of the other: searches that gave both come first, the rest is drawn."""
    kinds = {kind: [one for one in drawn if one.quality == kind] for kind in ("useful", "noisy")}
    least = min(map(len, kinds.values()))
    both = {one.search.search.key for one in kinds["useful"]} & {one.search.search.key for one in kinds["noisy"]}
    kept: list[_Drawn] = []
    for kind, some in kinds.items():
        order = np.random.default_rng([seed, 1]).permutation(len(some))
        ordered = sorted((some[int(place)] for place in order), key=lambda one: one.search.search.key not in both)
        kept.extend(ordered[:least])
        left_out[f"{kind}: more than of the other kind"] += len(some) - least
    order = np.random.default_rng([seed, 2]).permutation(len(kept))
    return [kept[int(place)] for place in order]


def question_groups(searches: Sequence[LabelledSearch]) -> Mapping[str, str]:
    """For each question's id, that of the first question it is bound to: they nearly repeat each other, or a document
    that is useful for one is useful for the other.
    """
    leader: dict[str, str] = {}

    def find(one: str) -> str:
        while leader[one] != one:
            leader[one] = leader[leader[one]]
            one = leader[one]
        return one

    questions: dict[str, Question] = {}
    owners: dict[str, str] = {}
    for each in searches:
        question = each.search.question
        leader.setdefault(question.id, question.id)
        questions.setdefault(question.id, question)
        for document, label in zip(each.search.documents, each.labels, strict=True):
            if label.quality == "useful":
                owner = owners.setdefault(document.text, question.id)
                leader[find(question.id)] = find(owner)
    ids = list(questions)
    texts = [each.question for each in questions.values()]
    answers = [each.golden_answers for each in questions.values()]
    for one, earlier in zip(ids, near_questions(texts, answers), strict=True):
        for place in earlier:
            leader[find(one)] = find(ids[place])
    return {one: find(one) for one in ids}


def _held_out(searches: Sequence[LabelledSearch], settings: BuildSettings) -> set[str]:
    """The questions that are held out: whole groups, in the order of a hash, until there are enough."""
    groups: dict[str, list[str]] = {}
    for question, group in question_groups(searches).items():
        groups.setdefault(group, []).append(question)
    wanted = settings.held_out * sum(map(len, groups.values()))
    held: set[str] = set()
    for group in sorted(groups, key=lambda name: _number(f"{settings.seed}:{name}")):
        if len(held) + len(groups[group]) <= wanted:
            held.update(groups[group])
    return held


def _example(drawn: _Drawn, writer: PromptWriter) -> Example:
    search = drawn.search.search
    request = SearchRequest(
        query=search.query,
        question=search.question,
        quality=drawn.quality,
        noise_probability=0.5,
        seed=0,
        topk=len(drawn.texts),
    )
    messages = writer.write(request, count=len(drawn.texts), gives_answer=drawn.quality == "useful")
    if messages[0]["role"] != "system":
        messages = [{"role": "system", "content": ""}, *messages]  # as `simulate_sft` asks
    lines = (f"Doc {number}: {text}" for number, text in enumerate(drawn.texts, start=1))
    return Example(
        prompt=tuple(messages),
        completion=({"role": "assistant", "content": "\n".join(lines)},),
        quality=drawn.quality,
        question=search.question,
        query=search.query,
        num_documents=len(drawn.texts),
        metadata={"search": search.key, "likeness": round(drawn.likeness, 4)},
    )


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
