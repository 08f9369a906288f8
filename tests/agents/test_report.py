from typing import Any

from agents.evaluate import measure
from agents.report import comparison_table, events_line, measure_table
from agents.trajectory import Trajectory


def record(played: int, failed: int = 0) -> dict[str, Any]:
    statuses = ["answered"] * played + ["failed"] * failed
    return measure(
        [
            Trajectory(question_id="q", question="q", golden_answers=("a",), group=0, status=status)  # type: ignore[arg-type]
            for status in statuses
        ],
        None,
    )


def test_each_column_has_its_own_count_and_failures_are_shown() -> None:
    lines = comparison_table({"noise_0": record(5)}, {"noise_0": record(3, 2)}).splitlines()
    cells = {line[:32].strip(): line[32:].split() for line in lines}
    assert cells["noise 0"] == ["before", "after"]
    assert cells["questions"] == ["5", "3"]
    assert cells["failed, in no number here"] == ["0", "2"]


def test_no_failures_take_no_line() -> None:
    table = comparison_table({"noise_0": record(5)}, {"noise_0": record(5)})
    assert table.startswith("noise 0, 5 questions")
    assert "failed" not in table
    assert "failed, in no number here     1" in measure_table({"noise_0.5": record(4, 1)})


def test_events_are_counted_by_kind_and_one_that_nobody_knows_is_told_by_its_name() -> None:
    lost = [{"kind": "sampler_replaced"}, {"kind": "a_new_kind"}, {"kind": "sampler_replaced"}]
    assert events_line(lost) == "Samplers that were lost and replaced: 2; a new kind: 1."
    assert events_line([]) == ""
