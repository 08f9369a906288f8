from benchmarks.leaderboard.episodes import PlayedEpisode
from benchmarks.leaderboard.progress import Progress


def test_a_line_now_and_then_and_one_at_the_end() -> None:
    now, told = [0.0], []
    progress = Progress("rag on bm25", 4, tell=told.append, clock=lambda: now[0], every_s=10)
    for index in range(4):
        now[0] += 6
        status = "failed" if index == 2 else "answered"
        progress.add(
            PlayedEpisode(
                set="nq",
                index=index,
                question_id="q",
                question="who?",
                golden_answers=("I",),
                status=status,  # type: ignore[arg-type]
                exact_match=float(index == 0),
            )
        )
    assert told == [
        "rag on bm25: 2 of 4 questions, exact match 0.500, about 12 s left",
        "rag on bm25: 4 of 4 questions, exact match 0.333, 1 failed, 24 s",
    ]
