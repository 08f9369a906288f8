import threading
from pathlib import Path

import pytest

from benchmarks.leaderboard.episodes import PlayedEpisode
from benchmarks.leaderboard.keeping import KEPT, KeptEpisodes
from zs_env.errors import ConfigError


def played(index: int, **given: object) -> PlayedEpisode:
    values = {"set": "nq", "index": index, "question_id": str(index), "question": "who?", "golden_answers": ("I",)}
    return PlayedEpisode(**{"status": "answered", **values, **given})  # type: ignore[arg-type]


def test_a_later_try_takes_the_place_of_a_failed_one(tmp_path: Path) -> None:
    kept = KeptEpisodes(tmp_path / KEPT, {"seed": 0})
    kept.keep(played(1, status="failed", error="GET http://10.0.0.1/ said 500"))
    kept.keep(played(0))
    assert [kept.is_done(("nq", index)) for index in (0, 1, 2)] == [True, False, False]
    kept.close()
    kept = KeptEpisodes(tmp_path / KEPT, {"seed": 0})
    assert [(e.index, e.error) for e in kept.episodes] == [(0, None), (1, "GET SERVER said 500")]
    kept.keep(played(1, answer="I"))
    kept.close()
    kept = KeptEpisodes(tmp_path / KEPT, {"seed": 0})
    assert [(e.index, e.answer) for e in kept.episodes] == [(0, None), (1, "I")]
    kept.close()


def test_seconds_add_up_over_commands(tmp_path: Path) -> None:
    seconds = []
    for index in range(3):
        kept = KeptEpisodes(tmp_path / KEPT, {})
        kept.keep(played(index))
        seconds.append(kept.seconds)
        kept.close()
    assert 0 < seconds[0] < seconds[1] < seconds[2]


def test_other_settings_are_refused_with_what_differs(tmp_path: Path) -> None:
    kept = KeptEpisodes(tmp_path / KEPT, {"settings": {"topk": 5}})
    kept.keep(played(0))
    with pytest.raises(ConfigError, match="being written by another command"):
        KeptEpisodes(tmp_path / KEPT, {"settings": {"topk": 5}})
    kept.close()
    with pytest.raises(ConfigError, match=r"settings\.topk is 5 there and 3 here.*--out"):
        KeptEpisodes(tmp_path / KEPT, {"settings": {"topk": 3}})


def test_threads_may_keep_at_the_same_time_and_nothing_is_kept_after_the_end(tmp_path: Path) -> None:
    kept = KeptEpisodes(tmp_path / KEPT, {})
    threads = [
        threading.Thread(target=lambda start=start: [kept.keep(played(start + n)) for n in range(20)])  # type: ignore[misc]
        for start in range(0, 100, 20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept.close()
    kept.keep(played(100))
    again = KeptEpisodes(tmp_path / KEPT, {})
    assert [e.index for e in again.episodes] == list(range(100))
    again.close()
