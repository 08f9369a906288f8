from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zs_env.questions.prepare.checking import exact_key, flags_of, give_ids
from zs_env.questions.prepare.cleaning import clean
from zs_env.questions.prepare.reading import Item
from zs_env.questions.prepare.settings import PrepareSettings, Source
from zs_env.questions.prepare.splitting import divide


def item(question, *answers, own_id=None, data_source="nq", split=None, row=1):
    return Item(
        question=question,
        answers=answers or ("a",),
        own_id=own_id,
        data_source=data_source,
        source=data_source,
        row=row,
        split=split,
        hops=None,
        metadata={},
    )


def settings(**more):
    return PrepareSettings(sources=(Source(place="a.jsonl"),), **more)


@pytest.mark.parametrize(("conflicts", "kept"), [("first", [("A", "B")]), ("merge", [("A", "B", "C")]), ("drop", [])])
def test_equal_questions(conflicts, kept):
    items = [item("Who?", "A"), item("who", "a", "B"), item("WHO?!", "C")]
    result = clean(items, [], settings(conflicts=conflicts))
    assert [left.answers for left in result.free] == kept
    why = Counter(removed.why for removed in result.removed)
    assert why == Counter(exact_repeat=1, conflict=1 + (conflicts == "drop"))


def test_yes_and_no_are_never_both_right():
    result = clean([item("Is it?", "yes"), item("is it", "no")], [], settings(conflicts="merge"))
    assert [left.answers for left in result.free] == [("yes",)]


def test_near_questions_with_other_answers_stay_together():
    one = "when did the new episodes of supernatural start on the network"
    items = [item(one, "May"), item(f"{one} again", "October"), item("who painted the night watch", "Rembrandt")]
    result = clean(items, [], settings())
    assert (len(result.free), result.counts["near_other_answer"], result.groups) == (3, 1, [0, 0, 2])
    assert result.examples["near_other_answer"][0]["other_question"] == one
    ignored = clean(items, [], settings(near="ignore"))
    assert (ignored.groups, ignored.counts["near_other_answer"]) == ([0, 1, 2], 0)


def test_near_questions_are_dropped_or_grouped():
    one = "when did the new episodes of supernatural start on the network"
    items = [item(one, "May"), item(f"{one} again", "May")]
    assert [removed.why for removed in clean(items, [], settings()).removed] == ["near_repeat"]
    grouped = clean(items, [], settings(near="group"))
    assert (len(grouped.free), grouped.groups) == (2, [0, 0])


def test_evaluation_questions_leave_training_only():
    items = [item("who wrote Emma", "x"), item("who wrote Emma", "y", split="dev"), item("where is Oslo", "z")]
    against = [item("Who wrote Emma?", "Jane Austen", data_source="bench")]
    result = clean(items, against, settings())
    assert [left.question for left in result.free] == ["where is Oslo"]
    assert [left.split for left in result.held] == ["dev"]
    assert [(removed.why, removed.other.data_source) for removed in result.removed] == [("evaluation_exact", "bench")]


@pytest.mark.parametrize(
    ("question", "answers", "found"),
    [
        ("Is it?", ["Yes."], {"yes_no"}),
        ("Which is older, Rome or Oslo?", ["the Rome"], {"holds_answer"}),
        ("Who is Romeo?", ["Rome"], set()),
        ("Which band?", ["The The"], {"bare_answer"}),
        ("Which blood type?", ["A+", "B"], {"bare_answer"}),
        ("long " * 300, ["x"], {"overlong"}),
        ("Which text?", ["x" * 201], {"overlong"}),
    ],
)
def test_checks(question, answers, found):
    assert flags_of(question, answers, settings()) == found


def test_ids_are_unique_and_keep_their_own():
    items = [
        item("one?", own_id="test_0"),
        item("two?", own_id="test_0"),
        item("three?", own_id="test_0", data_source="hotpotqa"),
        item("four?"),
        item("Four"),
        item("five?", own_id="nq-7"),
    ]
    assert give_ids(items) == 2
    ids = [one.id for one in items]
    assert len(set(ids)) == 6
    assert (ids[2], ids[5]) == ("hotpotqa-test_0", "nq-7")
    assert ids[4] == f"{ids[3]}-2"
    again = [item("four?"), item("two?", own_id="test_0"), item("one?", own_id="test_0")]
    give_ids(again)
    assert [one.id for one in again] == [ids[3], ids[1], ids[0]]


@given(st.text(max_size=40))
def test_a_key_ignores_case_and_spaces(text):
    assert exact_key(f"  {text}  ") == exact_key(text)
    assert exact_key(text) or not text.strip()


@given(st.data())
def test_groups_stay_together_and_shares_hold(data):
    size = data.draw(st.integers(1, 60))
    groups = list(range(size))
    for at in range(1, size):
        if data.draw(st.booleans()):
            groups[at] = groups[data.draw(st.integers(0, at - 1))]
    items = [item(f"question {at}?", data_source="nq" if at % 3 else "hotpotqa") for at in range(size)]
    give_ids(items)
    shares = {"train": 0.6, "dev": 0.4}
    splits = divide(items, groups, shares, seed=3)
    assert len({(group, split) for group, split in zip(groups, splits, strict=True)}) == len(set(groups))
    largest = max(Counter(groups).values())
    assert abs(splits.count("train") - 0.6 * size) <= 2 * largest
    order = data.draw(st.permutations(range(size)))
    moved = [items[at] for at in order]
    place = {at: new for new, at in enumerate(order)}
    regrouped = [min(place[at] for at in range(size) if groups[at] == groups[old]) for old in order]
    assert divide(moved, regrouped, shares, seed=3) == [splits[at] for at in order]


def test_many_small_data_sets_have_the_shares_together():
    items = [item(f"question {at}?", data_source=f"set {at}") for at in range(1_000)]
    give_ids(items)
    counts = Counter(divide(items, range(1_000), {"train": 0.8, "dev": 0.1, "test": 0.1}, seed=0))
    assert counts["train"] == pytest.approx(800, abs=50)
    assert counts["dev"] == pytest.approx(100, abs=40)
    assert counts["test"] == pytest.approx(100, abs=40)


def test_another_seed_divides_otherwise():
    items = [item(f"question {at}?") for at in range(100)]
    give_ids(items)
    one, other = (divide(items, range(100), {"a": 0.5, "b": 0.5}, seed) for seed in (0, 1))
    assert one != other
    assert one.count("a") == other.count("a") == 50
    assert divide(items, range(100), None, 0) == ["train"] * 100
