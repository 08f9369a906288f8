"""Which candidates become questions: each is checked, and what is dropped is counted with its reason."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from zs_env.engines.retrieval.engine import RetrievalEngine
from zs_env.matching import Golden
from zs_env.rewards import normalize_answer
from zs_env.tuning.domain.candidates import Candidate
from zs_env.tuning.domain.corpus import Passage
from zs_env.types import Question, SearchRequest

__all__ = ["Chosen", "Tally", "choose"]

MAX_EXAMPLES = 5
_QUOTES = "“”\"'‘’`*_ "


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A candidate that holds, and every passage that holds its answer for it.

    Attributes:
        candidate: The candidate, with all answers of the same question.
        passages: The passages it was proposed from, the first one its own.
        rank: The place of its own passage among what BM25 finds for the question, from 1.
    """

    candidate: Candidate
    passages: tuple[str, ...]
    rank: int


@dataclass
class Tally:
    """How many were dropped for each reason, and a few of them."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def drop(self, candidate: Candidate, why: str) -> None:
        """Count a candidate that is dropped."""
        self.counts[why] += 1
        if len(self.examples[why]) < MAX_EXAMPLES:
            self.examples[why].append(f"{candidate.question} → {' / '.join(candidate.answers)}")


def choose(
    candidates: Iterable[Candidate],
    passages: Mapping[str, Passage],
    engine: RetrievalEngine,
    *,
    topk: int,
    max_per_passage: int,
    max_answer_words: int,
    tally: Tally,
) -> list[Chosen]:
    """Check candidates one by one, then against each other, then by searching for their passages.

    Args:
        candidates: What was proposed.
        passages: The corpus, by id.
        engine: BM25 over the corpus.
        topk: Among so many passages found for a question, its own must be.
        max_per_passage: So many questions of a passage are kept, those of rare patterns first.
        max_answer_words: Longer answers are nothing that a policy can be held to.
        tally: Counts what is dropped.
    """
    sound = [
        candidate
        for candidate in candidates
        if _keeps(candidate, problem_of(candidate, passages[candidate.passage], max_answer_words), tally)
    ]
    single = _merged(sound, tally)
    found = _found(single, engine, topk)
    kept: list[Chosen] = []
    for (candidate, holders), rank in zip(single, found, strict=True):
        if rank is None:
            tally.drop(candidate, f"BM25 doesn't find its passage among {topk}")
        else:
            kept.append(Chosen(candidate=candidate, passages=holders, rank=rank))
    return _capped(kept, max_per_passage, tally)


def _keeps(candidate: Candidate, problem: str | None, tally: Tally) -> bool:
    if problem is not None:
        tally.drop(candidate, problem)
    return problem is None


def problem_of(candidate: Candidate, passage: Passage, max_answer_words: int) -> str | None:
    """What is wrong with a candidate by itself; None if nothing is."""
    goldens = [Golden(answer) for answer in candidate.answers]
    excluded = next((golden.excluded for golden in goldens if golden.excluded is not None), None)
    if excluded is not None or not goldens:
        return f"the answer is {excluded or 'missing'}"
    if any(len(answer.split()) > max_answer_words for answer in candidate.answers):
        return f"the answer is longer than {max_answer_words} words"
    if any(golden.is_in(candidate.question) for golden in goldens):
        return "the answer is in the question"
    text = f"{passage.title}\n{passage.text}"
    if not all(golden.is_literally_in(text) for golden in goldens):
        return "the answer isn't in the passage word for word"
    return None


def _merged(candidates: Sequence[Candidate], tally: Tally) -> list[tuple[Candidate, tuple[str, ...]]]:
    """One candidate a question: those that agree become one, those that don't are all dropped."""
    groups: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        groups[normalize_answer(candidate.question)].append(candidate)
    merged: list[tuple[Candidate, tuple[str, ...]]] = []
    for group in groups.values():
        first = group[0]
        answers = {normalize_answer(answer) for answer in first.answers}
        agree = all(answers & {normalize_answer(answer) for answer in other.answers} for other in group[1:])
        if not agree:
            for candidate in group:
                tally.drop(candidate, "the same question has different answers elsewhere")
            continue
        for other in group[1:]:
            tally.drop(other, "the same question and answer again")
        merged.append((first, tuple(dict.fromkeys(other.passage for other in group))))
    return merged


def _found(
    candidates: Sequence[tuple[Candidate, tuple[str, ...]]], engine: RetrievalEngine, topk: int
) -> list[int | None]:
    """The rank of each candidate's passage among what its question finds, from 1; None if it isn't found."""
    requests = [
        SearchRequest(
            query=candidate.question,
            question=Question(id="candidate", question=candidate.question, golden_answers=candidate.answers),
            quality="useful",
            noise_probability=0.0,
            seed=0,
            topk=topk,
        )
        for candidate, _ in candidates
    ]
    ranks: list[int | None] = []
    for (candidate, _), result in zip(candidates, engine.search_now(requests), strict=True):
        ids = [str((document.metadata or {}).get("id")) for document in result.documents]
        ranks.append(ids.index(candidate.passage) + 1 if candidate.passage in ids else None)
    return ranks


def _capped(kept: Sequence[Chosen], max_per_passage: int, tally: Tally) -> list[Chosen]:
    """At most so many questions a passage; rare patterns first, so that questions differ."""
    frequency = Counter(one.candidate.pattern for one in kept)
    taken: Counter[str] = Counter()
    stays: set[int] = set()
    for place in sorted(range(len(kept)), key=lambda at: _preference(kept[at].candidate, at, frequency)):
        passage = kept[place].candidate.passage
        if taken[passage] < max_per_passage:
            taken[passage] += 1
            stays.add(place)
        else:
            tally.drop(kept[place].candidate, f"its passage has {max_per_passage} questions already")
    return [one for place, one in enumerate(kept) if place in stays]


def _preference(candidate: Candidate, place: int, frequency: Counter[str]) -> tuple[bool, int, int]:
    """Natural questions first, then those of rare patterns."""
    return candidate.pattern.startswith("cloze/"), frequency[candidate.pattern], place
