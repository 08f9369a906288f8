from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.peers.installing import ROOT, PeersError
from benchmarks.peers.program import Program

FAKE = [sys.executable, str(Path(__file__).with_name("fake_program.py"))]


def test_what_a_library_prints_is_no_answer() -> None:
    with Program("fake", FAKE) as program:
        described = program.ask("describe")
        assert described["packages"] == {"fake": "1.0"}
        assert described["python"] == ".".join(map(str, sys.version_info[:3]))
        steps = program.ask("step", way="still", num_envs=3, num_steps=2)
        assert steps["characters"] == 6 * len("Tarn0fels")


def test_a_library_that_cannot_be_imported_is_told() -> None:
    with Program("fake", [*FAKE, "--broken"]) as program, pytest.raises(PeersError, match="no_such_library"):
        program.ask("describe")


def test_a_way_that_does_not_show_its_documents_is_refused() -> None:
    with Program("fake", FAKE) as program:
        with pytest.raises(PeersError, match="SearchTool Error: no"):
            program.ask("step", way="unread", num_envs=1, num_steps=1)
        assert program.ask("describe"), "one refusal ends nothing"


def test_a_program_that_ends_says_its_last_words() -> None:
    given = {"way": "ends", "episodes": 1, "url": "http://127.0.0.1:9", "cold": False}
    with Program("fake", FAKE) as program, pytest.raises(PeersError, match=r"fake ended .* turn[\s\S]*goodbye"):
        program.ask("turn", **given)


def test_a_program_that_hangs_is_ended() -> None:
    given = {"way": "hangs", "episodes": 1, "url": "http://127.0.0.1:9", "cold": False}
    with Program("fake", FAKE, timeout_s=1) as program, pytest.raises(PeersError, match="no answer in 1 s"):
        program.ask("turn", **given)


def test_a_program_that_is_not_there_is_told() -> None:
    with pytest.raises(PeersError, match="can't be started"), Program("fake", ["/no/such/python"]):
        pass


def test_an_answer_that_is_no_json_is_told() -> None:
    command = [sys.executable, "-c", "input(); print('hello')"]
    with Program("fake", command) as program, pytest.raises(PeersError, match="no JSON: 'hello"):
        program.ask("describe")


def test_the_peers_programs_import_nothing_of_ours() -> None:
    modules = "benchmarks.peers.gem_program, benchmarks.peers.skyrl_program"
    code = f"import sys, {modules}; print(sorted(m for m in sys.modules if m.split('.')[0] in ('zs_env', 'agents')))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
