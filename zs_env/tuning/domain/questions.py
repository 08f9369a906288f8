"""The second step of a domain: questions with golden answers that its passages hold."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from zs_env.engines import make_engine
from zs_env.engines.retrieval import RetrievalEngine
from zs_env.engines.retrieval.corpus import corpus_fingerprint
from zs_env.errors import ConfigError
from zs_env.files import write_text
from zs_env.questions.source import fingerprint
from zs_env.tuning.domain.asking import Asked, ask_model
from zs_env.tuning.domain.candidates import Candidate
from zs_env.tuning.domain.choosing import Chosen, Tally, choose
from zs_env.tuning.domain.cloze import cloze_candidates
from zs_env.tuning.domain.corpus import CORPUS, TRAIN_CORPUS, Passage, read_corpus, write_corpus
from zs_env.tuning.domain.encyclopedic import encyclopedic_candidates
from zs_env.tuning.domain.prose import prose_candidates
from zs_env.tuning.domain.reports import done_before, write_report
from zs_env.tuning.domain.splitting import SPLITS, Shares, near_across, order_of, split_documents
from zs_env.tuning.domain.tables import table_candidates
from zs_env.tuning.models import AskedModel
from zs_env.types import Question

__all__ = ["QUESTIONS", "REPORT", "RULES", "SCHEMA", "QuestionSettings", "make_questions", "rule_candidates"]

QUESTIONS = "questions.jsonl"
REPORT = "questions.json"
ASKED = "asked.jsonl"
SCHEMA = "zerosearch.domain_questions/1"
RULES = ("encyclopedic", "tables", "prose", "cloze")
"""What proposes questions without a model: about an article's subject, from table rows, from sentences, with a gap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionSettings:
    """How questions are made.

    Attributes:
        topk: Among so many passages that BM25 finds for a question, its own must be.
        max_per_passage: So many questions of a passage are kept.
        max_answer_words: Longer answers are dropped.
        shares: Which share of the questions dev and test get; documents go whole.
        seed: Decides the order of the questions, and which of two equally large documents goes where.
        rules: Which rules propose questions, some of `RULES`.

    Raises:
        ConfigError: A number is below 1, or there is no such rule.
    """

    topk: int = 5
    max_per_passage: int = 3
    max_answer_words: int = 8
    shares: Shares = field(default_factory=Shares)
    seed: int = 0
    rules: tuple[str, ...] = RULES

    def __post_init__(self) -> None:
        for name in ("topk", "max_per_passage", "max_answer_words"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is at least 1; got {getattr(self, name)}.")
        unknown = [name for name in self.rules if name not in RULES]
        if unknown:
            raise ConfigError(f"Rules are some of {', '.join(RULES)}; got {', '.join(unknown)}.")


_RULES: Mapping[str, Callable[[Passage], Iterator[Candidate]]] = {
    "encyclopedic": lambda passage: encyclopedic_candidates(passage.id, passage.title, passage.text),
    "tables": table_candidates,
    "prose": prose_candidates,
    "cloze": cloze_candidates,
}


def rule_candidates(passages: Sequence[Passage], rules: Sequence[str]) -> Iterator[Candidate]:
    """What the rules propose, passage by passage."""
    for passage in passages:
        said: set[str] = set()
        for name in rules:
            for candidate in _RULES[name](passage):
                if name != "cloze" or candidate.sentence not in said:
                    yield candidate
                said.add(candidate.sentence)


def make_questions(
    folder: Path,
    settings: QuestionSettings,
    *,
    passages: Path | None = None,
    model: AskedModel | None = None,
    limit: int | None = None,
    concurrency: int = 4,
    again: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Make `questions.jsonl` and its report `questions.json` from a folder's `corpus.jsonl`.

    `corpus_train.jsonl` beside them lacks the documents of dev and test: a simulator learns from searches in it.

    Args:
        folder: The domain's folder.
        settings: How.
        passages: A corpus to begin from, instead of what the first step made; it is copied into the folder.
        model: A model that writes questions, beside the rules; what it wrote is kept in `asked.jsonl`.
        limit: The model is asked about so many passages; all where left out.
        concurrency: How many of its replies are waited for at the same time.
        again: Make them again, also with other settings; what a model wrote is kept.
        say: Is told how it goes.

    Returns:
        The report; `is_new` in it says whether anything was done.

    Raises:
        ConfigError: There is no corpus, or the questions there are of other settings.
    """
    if not settings.rules and model is None:
        raise ConfigError(f"Questions come from rules ({', '.join(RULES)}) or from a model: give some of them.")
    corpus = folder / CORPUS
    _bring(corpus, passages, again)
    if not corpus.is_file():
        raise ConfigError(f"There is no {corpus}: make passages first (`tune domain passages`), or give --passages.")
    asked_of = None if model is None else {**model.identity, "limit": limit}
    told = {**asdict(settings), "corpus": corpus_fingerprint(corpus), "model": asked_of}
    before = done_before(folder / REPORT, SCHEMA, told, again=again)
    if before is not None and (folder / QUESTIONS).is_file() and (folder / TRAIN_CORPUS).is_file():
        return {**before, "is_new": False}
    whole = {passage.id: passage for passage in read_corpus(corpus)}
    candidates = list(rule_candidates(list(whole.values()), settings.rules))
    asked: Asked | None = None
    if model is not None:
        asked = ask_model(
            list(whole.values()),
            model,
            folder / ASKED,
            corpus=told["corpus"],
            limit=limit,
            seed=settings.seed,
            max_answer_words=settings.max_answer_words,
            concurrency=concurrency,
            again=again,
            say=say,
        )
        candidates += asked.candidates
    engine = make_engine("bm25", corpus=str(corpus))
    assert isinstance(engine, RetrievalEngine)
    tally = Tally()
    chosen = choose(
        candidates,
        whole,
        engine,
        topk=settings.topk,
        max_per_passage=settings.max_per_passage,
        max_answer_words=settings.max_answer_words,
        tally=tally,
    )
    rows = _rows(chosen, whole, settings)
    if not rows:
        raise ConfigError(
            f"None of {len(candidates):,} candidates from {len(whole):,} passages holds ({dict(tally.counts)}): take "
            "other rules, or let a model write questions (--llm-url and --llm-model)."
        )
    held_out = {row["metadata"]["source"] for row in rows if row["metadata"]["split"] != "train"}
    write_corpus(folder / TRAIN_CORPUS, [passage for passage in whole.values() if passage.source not in held_out])
    write_text(folder / QUESTIONS, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    report = {**_report(rows, candidates, tally, len(whole)), "asked": None if asked is None else dict(asked.counts)}
    return {**write_report(folder / REPORT, SCHEMA, told, report), "is_new": True}


def _bring(corpus: Path, given: Path | None, again: bool) -> None:
    """Copy a given corpus into the folder, with an id and a source in every line."""
    if given is None:
        return
    passages = read_corpus(given)
    if corpus.is_file() and read_corpus(corpus) != passages:
        if not again:
            raise ConfigError(f"{corpus} holds other passages than {given}: give --again, or another folder.")
        corpus.unlink()
    if not corpus.is_file():
        corpus.parent.mkdir(parents=True, exist_ok=True)
        write_corpus(corpus, passages)


def _rows(
    chosen: Sequence[Chosen], passages: Mapping[str, Passage], settings: QuestionSettings
) -> list[dict[str, Any]]:
    """The rows of the file, in an order of chance: the first hundred are of all kinds."""
    documents = Counter(passages[one.candidate.passage].source for one in chosen)
    split = split_documents(documents, settings.shares, settings.seed)
    rows = []
    for one in sorted(chosen, key=lambda one: order_of(one.candidate.question, settings.seed)):
        candidate = one.candidate
        source = passages[candidate.passage].source
        key = hashlib.blake2b(candidate.question.encode(), digest_size=6).hexdigest()
        metadata: dict[str, Any] = {
            "split": split[source],
            "pattern": candidate.pattern,
            "passage": candidate.passage,
            "passages": list(one.passages),
            "source": source,
            "rank": one.rank,
        }
        if candidate.closed_book is not None:
            metadata["closed_book"] = candidate.closed_book
        rows.append(
            {
                "id": f"domain-{key}",
                "question": candidate.question,
                "golden_answers": list(candidate.answers),
                "metadata": metadata,
            }
        )
    return rows


def _report(
    rows: Sequence[Mapping[str, Any]], candidates: Sequence[Candidate], tally: Tally, num_passages: int
) -> dict[str, Any]:
    splits = [row["metadata"]["split"] for row in rows]
    texts = [row["question"] for row in rows]
    near = near_across(texts, splits)
    questions = [
        Question(id=row["id"], question=row["question"], golden_answers=tuple(row["golden_answers"])) for row in rows
    ]
    sources = {name: {row["metadata"]["source"] for row in rows if row["metadata"]["split"] == name} for name in SPLITS}
    return {
        "num_passages": num_passages,
        "num_candidates": len(candidates),
        "num_kept": len(rows),
        "num_dropped": dict(tally.counts.most_common()),
        "dropped_examples": dict(tally.examples),
        "splits": {name: {"questions": splits.count(name), "documents": len(sources[name])} for name in SPLITS},
        "near_across_splits": {
            "pairs": len(near),
            "examples": [[texts[earlier], texts[later]] for earlier, later in near[:5]],
        },
        "patterns": dict(Counter(row["metadata"]["pattern"] for row in rows).most_common()),
        "passages_with_questions": len({row["metadata"]["passage"] for row in rows}),
        "fingerprint": fingerprint(questions),
    }
