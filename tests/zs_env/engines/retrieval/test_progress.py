from __future__ import annotations

from zs_env.engines.retrieval.progress import Progress


def test_a_line_every_few_seconds_with_rate_and_time_left():
    now, lines = [0.0], []
    progress = Progress("indexing", 1_000, lines.append, every_s=5, clock=lambda: now[0])
    for _ in range(12):
        now[0] += 1
        progress.add(10)
    assert lines == [
        "indexing: 50 of 1,000 passages, 10 a second, 95 s left",
        "indexing: 100 of 1,000 passages, 10 a second, 90 s left",
    ]


def test_without_a_total_there_is_no_time_left():
    progress = Progress("reading", None, print, clock=iter([0.0, 1.0, 2.0]).__next__)
    progress.add(6)
    assert progress.line() == "reading: 6 passages, 3 a second"
