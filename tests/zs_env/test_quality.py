from __future__ import annotations

from typing import Any

import pytest

from zs_env.quality import Share, judge, report, was_delivered
from zs_env.types import Document, Question, SearchRequest, SearchResult

FRANCE = Question(id="france", question="What is the capital of France?", golden_answers=("Paris",))
ITALY = Question(id="italy", question="What is the capital of Italy?", golden_answers=("Rome",))
OLDER = Question(id="older", question="Is France older than Italy?", golden_answers=("yes",))


def search(
    question: Question, *texts: str, quality: Any = "useful", **given: Any
) -> tuple[SearchRequest, SearchResult]:
    request = SearchRequest(
        query=question.question, question=question, quality=quality, noise_probability=0.5, seed=0, topk=2
    )
    return request, SearchResult(documents=tuple(map(Document, texts)), engine="test", **given)


def test_a_report_by_hand() -> None:
    judged = judge(
        [
            search(FRANCE, "Paris is the capital.", "Lyon is a city.", supports_query=True),
            search(ITALY, "Milan is a city.", metadata={"quality_checked": False}, supports_query=False),
            search(OLDER, "Yes."),
            search(ITALY, error="down"),
            search(ITALY, error="down"),
        ]
    )
    assert [one.holds_answer for one in judged] == [True, False, None, None, None]
    assert [one.delivered for one in judged] == [True, False, True, False, False]
    found = report(judged)
    assert (found.num_searches, found.failed, found.delivered) == (5, Share(2, 5), Share(2, 5))
    assert (found.holding, found.free, found.excluded) == (Share(1, 2), Share(1, 2), {"yes or no": 1})
    assert (found.documents, found.documents_holding) == (Share(4, 6), Share(1, 3))
    assert (found.supporting, found.errors) == (Share(1, 2), {"down": 2})
    # 4 + 4 + 4 + 1 words; paris is the capital lyon a city milan yes: 9 of 13.
    assert (found.mean_words, found.median_words) == (13 / 4, 4)
    assert found.distinct_1 == pytest.approx(9 / 13)
    assert (found.short, found.repeated, found.copied) == (Share(4, 4), Share(0, 4), Share(0, 4))


def test_titles_are_read_too() -> None:
    request, _ = search(FRANCE)
    (one,) = judge([(request, SearchResult(documents=(Document("A city.", "Paris"),), engine="test"))])
    assert one.holds_answer is True


def test_an_engine_that_always_leaks_is_never_free() -> None:
    leaks = [
        search(question, f"It is {answer}.", quality="noisy")
        for question, answer in ((FRANCE, "PARIS"), (ITALY, "Rome"))
    ]
    assert report(judge(leaks)).free == Share(0, 2)


def test_noise_off_the_topic_has_no_similarity() -> None:
    near, far = judge(
        [search(FRANCE, "Capital cities of France."), search(FRANCE, "Cats sleep a lot.", quality="noisy")]
    )
    assert near.similarity is not None
    assert near.similarity > 0.5
    assert far.similarity == 0.0


def test_repeats_are_told_apart_by_whose_they_are() -> None:
    same = "A tower of iron stands in the middle of the town."
    first, second, third = judge(
        [search(FRANCE, same, same), search(FRANCE, same, quality="noisy"), search(ITALY, same)]
    )
    assert (first.repeated, first.repeated_elsewhere) == (1, 0)
    assert (second.repeated, second.repeated_elsewhere) == (0, 0)  # of the same question
    assert (third.repeated, third.repeated_elsewhere) == (0, 1)


def test_what_a_small_model_says_instead_of_documents_is_seen() -> None:
    prompt = ["The Eiffel Tower in Paris is 330 metres tall with its antennas."]
    (one,) = judge(
        [search(ITALY, prompt[0], 'The user asks: "what is the capital of italy"?', quality="noisy")],
        prompt_texts=prompt,
    )
    assert (one.copied, one.said_back, one.short) == (1, 1, 0)


def test_no_documents_are_not_delivered() -> None:
    assert not was_delivered(search(FRANCE)[1])
    found = report(judge([search(FRANCE)]))
    assert (found.holding, found.similarity, found.mean_words) == (Share(0, 1), None, None)
    assert report([]).failed.value is None


def test_meaning_is_asked_of_whoever_knows_it() -> None:
    asked = []

    def meaning(query: str, texts: Any) -> list[float]:
        asked.append((query, list(texts)))
        return [0.2, 0.4]

    (one,) = judge([search(FRANCE, "One.", "Two.")], meaning=meaning)
    assert one.meaning == pytest.approx(0.3)
    assert asked == [(FRANCE.question, ["One.", "Two."])]
