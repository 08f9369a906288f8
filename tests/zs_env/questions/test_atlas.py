from zs_env.questions import load_questions


def test_splits_have_both_hop_counts():
    for split, least in (("train", 2_000), ("validation", 200), ("test", 200)):
        questions = load_questions("atlas", split)
        for hops in (1, 2):
            assert sum(question.metadata["hops"] == hops for question in questions) >= least
