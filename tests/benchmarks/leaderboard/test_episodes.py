from pathlib import Path

import pytest

from agents.trajectory import SearchRecord
from benchmarks.leaderboard.episodes import PlayedEpisode, read_episodes, write_episodes
from zs_env.episode import Segment
from zs_env.errors import ConfigError


def played(index: int = 0, **given: object) -> PlayedEpisode:
    search = SearchRecord(
        turn=1,
        query="who\u2028?",
        quality="noisy",
        noise_probability=0.5,
        seed=7,
        supports_query=None,
        contains_golden=True,
        engine="bm25",
        num_documents=3,
        cut=False,
        cached=False,
        latency_s=0.25,
        cost=0.01,
        error=None,
    )
    values = {
        "set": "atlas",
        "index": index,
        "question_id": f"q{index}",
        "question": "Who?",
        "golden_answers": ("Ada", "Ada L."),
        "status": "answered",
        "answer": "Ada",
        "exact_match": 1.0,
        "searches": (search,),
        "segments": (Segment("prompt", "Who?"), Segment("policy", "<answer>Ada</answer>")),
    }
    return PlayedEpisode(**values | given)  # type: ignore[arg-type]


def test_what_is_written_is_read_again_packed_or_not(tmp_path: Path) -> None:
    episodes = [played(0), played(1, status="failed", error="gone", answer=None)]
    write_episodes(tmp_path / "episodes.jsonl.gz", episodes)
    assert list(read_episodes(tmp_path / "episodes.jsonl.gz")) == episodes
    assert [episode.failed for episode in episodes] == [False, True]


def test_equal_episodes_give_an_equal_file(tmp_path: Path) -> None:
    for name in ("first.jsonl.gz", "second.jsonl.gz"):
        write_episodes(tmp_path / name, [played()])
    assert (tmp_path / "first.jsonl.gz").read_bytes() == (tmp_path / "second.jsonl.gz").read_bytes()


@pytest.mark.parametrize("line", ["{", "[]", '{"set": "a"}', '{"set":"a","index":0,"question_id":"q","status":"x"}'])
def test_a_line_that_is_no_episode_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "episodes.jsonl").write_text(line + "\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"episodes\.jsonl, line 1"):
        list(read_episodes(tmp_path / "episodes.jsonl"))


def test_a_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    write_episodes(tmp_path / "episodes.jsonl.gz", [played(index) for index in range(50)])
    path = tmp_path / "cut.jsonl.gz"
    path.write_bytes((tmp_path / "episodes.jsonl.gz").read_bytes()[:-20])
    with pytest.raises(ConfigError, match=r"cut\.jsonl\.gz"):
        list(read_episodes(path))
