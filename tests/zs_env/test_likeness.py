from __future__ import annotations

import math
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zs_env.likeness import NEAR, TermWeights, copied_run, distinct_share, near_repeats, says_back, terms_of, words_of


def test_words_and_terms() -> None:
    assert words_of("The CAFÉ's 東京, 3.5!") == ("the", "cafe", "東", "京", "3", "5")
    assert terms_of("The parties and bridges, bridged") == terms_of("party bridge bridge")
    assert terms_of("who is it") == ("who", "is", "it")  # nothing else is there


@pytest.mark.parametrize("unit", ["\u0301\u0316", "\u0591\u05b0"])
def test_marks_without_end_are_read_in_time(unit: str) -> None:
    # Without breaks this sorts a hundred thousand marks by insertion, which takes minutes.
    words = words_of(f"Cafe{unit * 50_000} Paris")
    assert (words[0], words[-1]) == ("cafe", "paris")


def test_similarity_by_hand() -> None:
    # Three texts; "cat" is in two of them, "dog" in one: ln(4/3) + 1 = 1.2877 and ln(4/2) + 1 = 1.6931.
    weights = TermWeights(["cat", "cat dog", "fish"])
    cat, dog = math.log(4 / 3) + 1, math.log(4 / 2) + 1
    assert (weights.weight("cat"), weights.weight("dog")) == pytest.approx((cat, dog))
    assert weights.similarity("cat", "cat dog") == pytest.approx(cat / math.hypot(cat, dog))
    assert weights.similarity("cat dog", "the dog, a cat") == pytest.approx(1.0)
    assert weights.similarity("cat", "fish") == 0.0
    assert weights.similarity("cat", "") == 0.0


def test_near_repeats_by_hand() -> None:
    # Ten words have eight shingles; another last word changes one of them: 7 of 9 is 0.78.
    # Twelve words have ten: 9 of 11 is 0.82. The ten words' eight are among them: 8 of 10 is 0.8, that of either.
    ten, twelve = "a b c d e f g h i", "a b c d e f g h i j k"
    texts = [f"{ten} j", f"{ten} x", f"{twelve} l", f"{twelve} x"]
    assert near_repeats(texts) == [(), (), (0,), (0, 2)]
    assert near_repeats(["yes", "Yes!", "no"]) == [(), (0,), ()]
    assert near_repeats([]) == []


@settings(deadline=None)
@given(st.lists(st.text("abc ", max_size=24), max_size=8))
def test_near_repeats_are_those_that_comparing_all_pairs_finds(texts: list[str]) -> None:
    def shingles(text: str) -> set[tuple[str, ...]]:
        words = words_of(text)
        return {words[at : at + 3] for at in range(max(len(words) - 2, 1))}

    sets = list(map(shingles, texts))
    pairs = {
        (i, j) for i, j in combinations(range(len(texts)), 2) if len(sets[i] & sets[j]) >= NEAR * len(sets[i] | sets[j])
    }
    assert {(i, j) for j, earlier in enumerate(near_repeats(texts)) for i in earlier} == pairs


def test_distinct_shares_by_hand() -> None:
    # a b a b: 2 of 4 words, ab ba of ab ba ab: 2 of 3 pairs.
    assert distinct_share(["a b a b"], 1) == 0.5
    assert distinct_share(["a b a b"], 2) == pytest.approx(2 / 3)
    assert distinct_share(["a"], 2) is None


def test_copies_are_runs_of_eight_words() -> None:
    prompt = ["The Eiffel Tower in Paris is 330 metres tall with its antennas."]
    assert copied_run("They say the Eiffel tower, in Paris, is 330 metres high.", prompt)  # eight words in a row
    assert not copied_run("The Eiffel Tower in Paris is 300 metres tall with its antennas.", prompt)  # six, then five
    assert copied_run("330 metres tall with", prompt)  # all that it says
    assert not copied_run("Paris", prompt)
    assert not copied_run("The Eiffel Tower in Paris is 330 metres tall.", [])


def test_saying_back_is_word_for_word() -> None:
    assert says_back('The question is: "Who wrote War and Peace?"', "who wrote war and peace")
    assert not says_back("Who wrote the war and peace?", "who wrote war and peace")
    assert not says_back("War and Peace", "War and Peace")  # a name isn't a question
