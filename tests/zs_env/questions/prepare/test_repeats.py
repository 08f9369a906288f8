import random

from zs_env.questions.prepare.repeats import ALIKE, ALIKE_SAME_ANSWER, NearQuestions, components

PAIRS = [  # real ones, of NQ-open's questions, and whether they ask the same
    ("who plays the characters in yo gabba gabba", "who are the characters in yo gabba gabba", "x", "x", True),
    ("who wrote the phantom of the opera music", "who wrote the music phantom of the opera", "Webber", "Webber", True),
    ("where does the last name waters come from", "where does the last name hansen come from", "a", "b", False),
    ("who is playing halftime show super bowl 2018", "who is playing halftime show super bowl 50", "a", "b", False),
    ("how many episodes in season 5 of oak island", "how many episodes in season 6 of oak island", "18", "18", False),
    ("were rome and oslo founded by vikings", "were rome and bergen founded by vikings", "no", "no", False),
]


def corpus():
    """Questions around the pairs, so that words weigh what they do among many."""
    rng = random.Random(0)
    words = ["who", "when", "where", "what", "won", "wrote", "plays", "the", "of", "in", "last", "season", "first"]
    return [" ".join([*rng.sample(words, 6), f"thing{rng.randrange(500)}"]) for _ in range(600)]


def near(questions, answers):
    index = NearQuestions(questions, answers)
    found = []
    for at in range(len(index)):
        found.append(index.find(at))
        index.add(at)
    return found, index


def test_what_asks_the_same_is_found_and_what_does_not_is_not():
    around = corpus()
    for one, other, first, second, same in PAIRS:
        found, _ = near([*around, one, other], [*(["-"] for _ in around), [first], [second]])
        assert [match.at for match in found[-1] if match.at == len(around)] == ([len(around)] if same else []), one


def test_no_pair_is_missed_and_few_are_compared():
    rng = random.Random(1)
    words = [f"word{int(rng.expovariate(0.02))}" for _ in range(3_000)]
    questions = [" ".join(rng.choices(words, k=rng.randint(1, 9))) for _ in range(400)]
    questions += [f"{rng.choice(questions)} {rng.choice(words)}" for _ in range(200)]
    answers = [[rng.choice("abc")] for _ in questions]
    found, index = near(questions, answers)
    pairs = {(match.at, at): match for at, matches in enumerate(found) for match in matches}
    wanted = set()
    for at, words_at in enumerate(index._words):
        for other in range(at):
            shared = sum(index._weights[word] for word in words_at & index._words[other])
            likeness = shared / (index._totals[at] + index._totals[other] - shared)
            enough = ALIKE_SAME_ANSWER if answers[at] == answers[other] else ALIKE
            if likeness >= enough and not index._ask_of_others(at, other):
                wanted.add((other, at))
                assert abs(pairs[other, at].likeness - likeness) < 1e-9
    assert set(pairs) == wanted
    assert len(wanted) > 50
    assert index.num_compared < len(questions) ** 2 / 8


def test_names_in_one_template_are_told_apart():
    names = [f"name{at}" for at in range(40)]
    template = "which language do most people speak in the country that {} belongs to"
    found, index = near([template.format(name) for name in names], [["Arabic"]] * 40)
    assert not any(found)
    assert index.num_compared  # they are alike enough to be looked at


def test_yes_is_no_answer_to_tell_questions_by():
    questions = [*corpus(), "is rome older than oslo or bergen", "is rome older than oslo or trondheim"]
    shared, _ = near(questions, [["yes"]] * len(questions))
    assert shared[-1] == []


def test_connected_things_have_one_first():
    assert components(6, [(5, 4), (4, 1), (0, 2)]) == [0, 1, 0, 3, 1, 1]
    assert components(3, []) == [0, 1, 2]
