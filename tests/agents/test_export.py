import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from agents.cli import main
from agents.conversation import EpisodeTask, RolloutSettings
from agents.export import export
from agents.model_card import usage_snippet
from agents.policy import Policy, load_policy
from agents.rollout import rollout_sync
from agents.runs import CHECKPOINT_SCHEMA
from agents.samplers import SamplingSettings
from agents.testing import byte_tokenizer, tiny_lfm2
from zs_env.actions import parse_action
from zs_env.episode import EpisodeSettings
from zs_env.errors import ConfigError
from zs_env.types import Document, Question, SearchRequest, SearchResult

WARM_START = "preset:quickstart_warmstart"
QUESTION = Question(id="q", question="What is the capital of Kenya?", golden_answers=("Nairobi",))
DOCUMENT = "The capital of Kenya is Nairobi."

# Runs a card's program where neither agents nor zs_env can be imported, and keeps what it generated.
RUNNER = """
import json, sys
sys.modules["agents"] = sys.modules["zs_env"] = None  # an entry of None makes an import of it fail
from transformers import GenerationMixin
whole, written = GenerationMixin.generate, []
def generate(self, *given, **options):
    written.append(whole(self, *given, **options))
    return written[-1]
GenerationMixin.generate = generate
exec(compile(open(sys.argv[1]).read(), "snippet", "exec"), {"__name__": "__main__"})
print("IDS", json.dumps([ids[0].tolist() for ids in written]))
"""


def snippet_of(folder: Path) -> str:
    found = re.findall(r"```python\n(.*?)\n```", (folder / "README.md").read_text(), flags=re.DOTALL)
    assert len(found) == 1
    return str(found[0])


def run_snippet(folder: Path, typed: str) -> tuple[str, list[list[int]]]:
    """What the card's program prints in the exported folder, and all ids after each of its calls of `generate`."""
    snippet = folder.parent / "snippet.py"
    snippet.write_text(snippet_of(folder))
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, str(snippet)], cwd=folder, input=typed, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    shown, _, ids = done.stdout.rpartition("IDS ")
    return shown, json.loads(ids)


class OneDocument:
    """An engine that always finds the same."""

    name = "one"

    async def search(self, requests: list[SearchRequest]) -> list[SearchResult]:
        return [SearchResult(documents=(Document(DOCUMENT),), engine=self.name) for _ in requests]


def our_ids(policy: Policy, prompt: str, max_new_tokens: int, max_turns: int) -> tuple[list[int], str | None]:
    """All ids of the same episode, played greedily by our own sampler, and its answer."""
    task = EpisodeTask(question=QUESTION, group=0, key=(0,))
    played = rollout_sync(
        [task],
        sampler=policy.sampler(SamplingSettings(greedy=True)),
        codec=policy.codec,
        engine=OneDocument(),
        episode_settings=EpisodeSettings(prompt=prompt, max_turns=max_turns),
        settings=RolloutSettings(max_new_tokens=max_new_tokens),
        seed=0,
    ).trajectories[0]
    return list(played.ids()), played.answer


def test_the_card_s_program_answers_by_transformers_alone(tmp_path: Path) -> None:
    out = tmp_path / "exported"
    assert main(["export", "--model", WARM_START, "--out", str(out), "--prompt", "short"]) == 0
    shown, ids = run_snippet(out, f"{DOCUMENT}\n\n" * 5)
    assert re.search(r"Searching for: .*Kenya", shown)
    assert shown.endswith("Answer: Nairobi\n")
    ours, answer = our_ids(load_policy(out), "short", max_new_tokens=256, max_turns=5)
    assert answer == "Nairobi"
    assert ids[-1] == ours


@pytest.mark.parametrize(
    "said",
    [
        "<answer> a < b </answer>",
        "<search>AT&T <3</search> and more",
        "<answer>R<b>x</b></answer>",
        "<answer>two\nlines</answer>",
        "<think>or <answer>Rome</answer>?</think><search> capital </search>",
        "<think>never closed <answer>x</answer>",
        "<search>a<answer>b</answer>",
        "<search>a<think>b</think>c</search>",
        "<search>a</think>b</search>",
        "<search> </search>",
        "<answer></answer>",
        "Paris",
    ],
)
def test_the_card_s_program_reads_actions_as_the_environment_does(said: str, tiny_policy: Policy) -> None:
    snippet = usage_snippet(tiny_policy.codec, {}, "short")
    (pattern,) = re.findall(r"^ACTION = .+$", snippet, re.MULTILINE)
    (line,) = re.findall(r"^ +action = (.+)$", snippet, re.MULTILINE)
    names: dict[str, Any] = {"re": re, "said": said}
    exec(pattern, names)
    found = eval(line, names)
    expected = parse_action(said)
    assert (("invalid", "") if found is None else found.groups()) == (expected.kind, expected.content)


def test_a_run_is_exported_clean_with_what_is_known_of_it(tmp_path: Path, capsys: Any) -> None:
    flags = (
        f"train --model {tmp_path / 'tiny'} --runs {tmp_path / 'runs'} --run-name first --prompt short --total-steps 1 "
        "--questions-per-step 2 --group-size 2 --max-new-tokens 8 --max-episode-tokens 500 --max-turns 2 "
        "--eval-limit 2 --limit 5 --start-threshold 0 --end-threshold 0.5 --seed 3"
    )
    Policy(tiny_lfm2(), byte_tokenizer()).save(tmp_path / "tiny")
    assert main(flags.split()) == 0
    run, out = tmp_path / "runs" / "first", tmp_path / "out"
    (run / "checkpoint" / "training_state.pt").write_bytes(b"optimizer")
    capsys.readouterr()
    assert main(["export", "--model", str(run), "--out", str(out), "--dtype", "bfloat16"]) == 0
    assert str(out) in capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == {
        *("README.md", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json"),
        *("tokenizer_config.json", "zerosearch.json"),
    }
    assert {tensor.dtype for tensor in load_file(out / "model.safetensors").values()} == {torch.bfloat16}
    notes = json.loads((out / "zerosearch.json").read_text())
    assert (notes["model"]["dtype"], notes["episode"]["prompt"], notes["rollout"]["max_new_tokens"]) == (
        *("bfloat16", "short"),
        8,
    )
    card = (out / "README.md").read_text()
    for fact in (
        "Algorithm: grpo",
        "Steps: 1 of 1",
        "A step: 2 questions × 2 episodes",
        "from 0 to 0.5",
        "Seed: 3",
        "tiny",
    ):
        assert fact in card
    assert "exact match, greedy" in card
    assert "max_new_tokens=8" in card
    assert str(tmp_path) not in card

    # Of other weights than those that were measured, no number is given.
    other = tiny_lfm2(seed=1)
    Policy(other, byte_tokenizer()).save(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "model.safetensors", run / "checkpoint" / "model.safetensors")
    export(str(run / "checkpoint"), tmp_path / "changed")
    assert "exact match, greedy" not in (tmp_path / "changed" / "README.md").read_text()
    assert "Algorithm: grpo" in (tmp_path / "changed" / "README.md").read_text()

    # An exported model is a model as any other, and a run's folder stands for its checkpoint everywhere.
    for model in (out, run):
        assert main(["eval", "--model", str(model), "--limit", "1", "--noise-probability", "0"]) == 0


def test_a_chat_model_gets_its_template(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]"
    policy = Policy(tiny_lfm2(), tokenizer)
    policy.model.generation_config.repetition_penalty = 1.5  # which training doesn't have
    played = {"model": {}, "episode": {"max_turns": 1}, "rollout": {"max_new_tokens": 40}, "search": {}}
    policy.save(tmp_path / "chat", settings={"schema": CHECKPOINT_SCHEMA, **played})
    export(str(tmp_path / "chat"), tmp_path / "out")
    snippet = snippet_of(tmp_path / "out")
    assert "encode('[user]')" in snippet
    assert "encode('[assistant]')" in snippet
    _, ids = run_snippet(tmp_path / "out", f"{DOCUMENT}\n\n" * 5)
    # A random model hardly acts; what it was asked and how it goes on are ours.
    ours, _ = our_ids(policy, "default", max_new_tokens=40, max_turns=1)
    assert ids[0] == ours


def test_what_is_there_is_not_overwritten(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "out").mkdir()
    assert main(["export", "--model", WARM_START, "--out", str(tmp_path / "out")]) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "./nowhere"}, "No model at './nowhere'"),
        ({"dtype": "int8"}, "--dtype must be one of float32, bfloat16, float16; got 'int8'"),
        ({"prompt": "no slot"}, "prompt must be one of"),
        ({"out": Path("/dev/null/x")}, "can't be made"),
    ],
)
def test_errors_leave_nothing(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(Exception, match=re.escape(message)):
        export(**({"model": WARM_START, "out": tmp_path / "out"} | options))
    assert not list(tmp_path.iterdir())


def test_a_run_without_a_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"run": {}, "training": {}}')
    with pytest.raises(ConfigError, match="has no checkpoint yet"):
        export(str(tmp_path), tmp_path / "out")
