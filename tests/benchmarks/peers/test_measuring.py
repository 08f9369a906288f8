from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.fanout_server import FanoutServer
from benchmarks.peers.measuring import TurnCost, arms_of, measure_steps, measure_turns
from benchmarks.peers.program import Program, module_command
from benchmarks.peers.tables import step_table, turn_table

FAKE = [sys.executable, str(Path(__file__).with_name("fake_program.py"))]
COMMANDS = {"ours": module_command(sys.executable, "our_program"), "fake": FAKE}


@pytest.fixture(scope="module")
def turns() -> list[TurnCost]:
    with ExitStack() as stack:
        programs = [stack.enter_context(Program(name, command)) for name, command in COMMANDS.items()]
        described = {program.name: program.ask("describe") for program in programs}
        server = stack.enter_context(FanoutServer(0.02))
        return measure_turns(arms_of(programs, "turns", described), server, episodes=8, latency_s=0.02, repeats=2)


def test_every_way_of_ours_is_one_request_an_episode_and_reads_its_documents(turns: list[TurnCost]) -> None:
    ours = [row for row in turns if row.side == "ours"]
    assert [(row.connections, row.way) for row in ours] == [
        (connections, way)
        for connections in ("warm", "cold")
        for way in ("vector step", "rollouts", "vector step, retrieval")
    ]
    for row in ours:
        assert row.as_it_should, row
        assert row.peak_in_flight == 8
        assert row.median_s >= 0.02
        assert row.range_s[0] <= row.median_s <= row.range_s[1]
        assert row.latencies == pytest.approx(row.median_s / 0.02)
        assert row.said is None
        assert (row.connections_opened == 0) == (row.connections == "warm")


def test_ratios_are_to_our_first_way(turns: list[TurnCost]) -> None:
    for row in turns:
        assert row.ratio_range[0] <= row.ratio <= row.ratio_range[1]
        if (row.side, row.way) == ("ours", "vector step"):
            assert row.ratio_range == (1.0, 1.0)


def test_turns_that_are_not_what_they_should_be_are_told(turns: list[TurnCost]) -> None:
    fake = {row.way: row for row in turns if row.side == "fake" and row.connections == "cold"}
    assert fake["once"].as_it_should
    assert fake["twice"].requests == (16, 16)
    assert fake["twice"].read == 8
    assert fake["another's"].distinct == 1
    assert fake["another's"].read == 1
    assert "Painters came to station 0" in (fake["another's"].said or "")
    lines = turn_table(list(fake.values()))
    assert sum("Not one request and its documents an episode" in line for line in lines) == 2
    assert "fake, another's, 8 episodes, cold. 1 read their documents" in lines[-1]


def test_steps_are_timed_in_all_ways() -> None:
    with ExitStack() as stack:
        programs = [stack.enter_context(Program(name, command)) for name, command in COMMANDS.items()]
        described = {program.name: program.ask("describe") for program in programs}
        rows = measure_steps(arms_of(programs, "steps", described), num_envs=5, num_steps=10, repeats=2)
    ways = ["vector env", "single env", "vector env, template engine", "single env, template engine", "still"]
    assert [row.way for row in rows] == ways
    vector, single = rows[:2]
    assert vector.characters == single.characters > 100, "both read the same episodes"
    assert rows[-1].characters == len("Tarn0fels")
    assert rows[-1].ratio < 1
    assert all(row.step_us_range[0] <= row.step_us <= row.step_us_range[1] for row in rows)
    assert len(step_table(rows)) == 2 + len(rows)
