import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from agents.accumulation import Accumulator, Example
from agents.batches import Batching
from agents.codec import TextCodec
from agents.policy import Policy, load_policy
from agents.samplers import ScriptedSampler
from agents.samplers.base import GenerationRequest
from agents.testing import byte_tokenizer, tiny_lfm2
from agents.warmstart import WarmStartSettings
from agents.warmstart.continued import continue_warm_start
from benchmarks.__main__ import main
from benchmarks.learning.arms import ARMS, arm_named
from benchmarks.learning.changes import AnswersAtOnce, RandomQueries, ShuffledRewards, Unmasked
from benchmarks.learning.command import RECORDS, _ready, read_records
from benchmarks.learning.page import mean_interval, render, steadiness, write_page
from benchmarks.learning.runs import study_settings
from tests.agents.doubles import PlayedBefore, make_trajectory
from zs_env.errors import ConfigError
from zs_env.types import Question, SearchRequest

DOCS = Path(__file__).parents[2] / "docs"


def test_every_arm_has_settings_of_its_own() -> None:
    names = [arm.name for arm in ARMS]
    assert len(set(names)) == len(names)
    for arm in ARMS:
        config = arm.config(3)
        assert (config.run.seed, config.run.threads, config.run.workers) == (3, 1, 1)
        assert config.questions.split == "train"
    assert arm_named("no-noise").config(0).noise.schedule(40).probability(39, 0) == 0.0
    assert arm_named("constant-noise").config(0).noise.schedule(40).probability(0, 5) == 0.35
    assert arm_named("grpo").config(0).noise.schedule(40).probability(39, 0) == 0.5
    # The constant is the curriculum's mean.
    schedule = arm_named("grpo").config(0).noise.schedule(40)
    assert sum(schedule.probability(step, 0) for step in range(40)) / 40 == pytest.approx(0.35, abs=0.005)
    with pytest.raises(ConfigError, match="Unknown arm 'dqn'"):
        arm_named("dqn")


def test_shuffled_rewards_are_the_same_rewards_elsewhere() -> None:
    played = [make_trajectory(group, float(group % 3), 4) for group in range(20)]
    played[5].status = "failed"
    before = [trajectory.reward for trajectory in played]
    executor = ShuffledRewards(PlayedBefore(played), seed=0)  # type: ignore[arg-type]
    executor.rollout([])
    after = [trajectory.reward for trajectory in played]
    assert sorted(after) == sorted(before)
    assert after != before
    assert after[5] == before[5]
    executor.publish(3)  # everything else goes through
    assert executor.version == 3


def test_without_the_mask_retrieved_tokens_are_in_the_loss(tiny_policy: Policy) -> None:
    trajectory = make_trajectory(0, 1.0, 4)
    ids, prompt = trajectory.ids(), 6
    inner = PlayedBefore([trajectory])
    inner.learner = SimpleNamespace(policy=tiny_policy)  # type: ignore[attr-defined]
    Unmasked(inner, seed=0).rollout([])  # type: ignore[arg-type]
    assert trajectory.ids() == ids
    assert trajectory.policy_mask() == [False] * prompt + [True] * (len(ids) - prompt)
    with torch.no_grad():
        logits = tiny_policy.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    expected = [float(logits[place - 1, ids[place]]) for place in range(prompt, len(ids))]
    assert trajectory.sampled_logprobs()[prompt:] == pytest.approx(expected, abs=1e-4)
    accumulator = Accumulator(None, batching=Batching(max_tokens=100), num_workers=1)
    (found,) = accumulator.infer([Example(trajectory)], lambda batch: batch.flat_sampled_logprobs())
    assert len(found) == len(ids) - prompt


@pytest.fixture
def tiny_policy() -> Policy:
    return Policy(tiny_lfm2(), byte_tokenizer())


def test_random_queries_are_never_the_policys_own() -> None:
    question = Question(id="q", question="What is the capital of Kenya?", golden_answers=("Nairobi",))
    asked: list[str] = []

    class Listening:
        name = "listening"

        def search_now(self, requests: Any) -> list[Any]:
            asked.extend(request.query for request in requests)
            return []

    engine = RandomQueries(Listening(), ["b", "a", "c"])  # type: ignore[arg-type]
    request = SearchRequest(query="b", question=question, quality="useful", noise_probability=0.0, seed=0, topk=5)
    engine.search_now([replace(request, seed=seed) for seed in range(9)])
    assert set(asked) == {"a", "c"}


def test_closed_book_says_an_answer_and_nothing_else() -> None:
    codec = TextCodec(byte_tokenizer())
    sampler = AnswersAtOnce(ScriptedSampler(codec, ["Paris</answer>"]), codec)
    request = GenerationRequest(prompt_ids=codec.encode("Capital of France?"), seed=0, max_new_tokens=40)
    (said,) = sampler.generate([request])
    assert said.text == "<answer>Paris</answer>"
    assert list(said.ids) == codec.encode("<answer>") + codec.encode("Paris</answer>")
    assert len(said.logprobs) == len(said.ids)


def test_supervised_training_goes_on_with_the_warm_starts_own_tokenizer_alone(tiny_policy: Policy) -> None:
    with pytest.raises(ConfigError, match="tokenizer"):
        continue_warm_start(tiny_policy, WarmStartSettings(), seed=0, cpu_seconds=1.0)
    policy = load_policy(arm_named("grpo").config(0).model.path)
    before = policy.fingerprints()["model"]
    assert continue_warm_start(policy, WarmStartSettings(), seed=0, cpu_seconds=0.3) >= 1
    assert policy.fingerprints()["model"] != before


def test_steadiness_and_intervals_by_hand() -> None:
    # Means of 2: 0.2, 0.3, 0.5, 0.45, 0.4: the deepest fall is 0.5 - 0.4.
    assert steadiness([0.2, 0.4, 0.6, 0.3, 0.5], window=2) == pytest.approx(0.1)
    assert steadiness([0.1, 0.2, 0.3], window=1) == 0.0
    # 1, 2, 3: mean 2, s = 1, t = 4.303, half = 4.303 / √3.
    assert mean_interval([1.0, 2.0, 3.0]) == pytest.approx((2 - 2.4843, 2 + 2.4843), abs=1e-3)
    assert mean_interval([1.0]) is None


def measured(share: float) -> dict[str, Any]:
    return {
        "n": 100,
        "em_greedy": share,
        "em_greedy_ci": [share - 0.05, share + 0.05],
        "em_greedy_by_hops": {"2": {"em": share}},
        "search_again_single_hop": {"difference": 0.5, "difference_ci": [0.4, 0.6]},
    }


def record(arm: str, seed: int, share: float) -> dict[str, Any]:
    after = {"noise_0": measured(share), "noise_0.5": measured(share / 2), "closed_book": measured(0.1)}
    curves = {"exact_match": [0.1, share]}
    seconds = {"wall": 2.0, "cpu": 1.0}
    return {"arm": arm, "seed": seed, "steps": 2, "after": after, "curves": curves, "seconds": seconds}


def test_tables_say_what_records_say(tmp_path: Path) -> None:
    records = [record("grpo", 0, 0.8), record("grpo", 1, 0.9), record("shuffled", 1, 0.3), record("no-noise", 0, 0.7)]
    shown = render(records)
    # t = 12.706, s = 0.0707, √2: 0.85 ± 0.635.
    assert "| GRPO | 2 | 2 | 0.850 [0.215, 1.485]; 0.800 to 0.900 |" in shown
    assert "| no noise | 1 | 2 | 0.700 | 0.350 | 0.500 | 0.000 | 1 |" in shown
    # 90 of 100 against 30 of 100, each seed against its own: Wilson's are [0.8256, 0.9448] and [0.2189, 0.3958], so
    # 0.6 - √(0.0744² + 0.0958²) and 0.6 + √(0.0448² + 0.0811²).
    assert "| RL with shuffled rewards | 1 | 2 | 0.300 | 0.900 | 0.600 [0.479, 0.693] |" in shown
    assert "| the same policy, closed book | 0 | – | 0.100 | 0.800 |" in shown
    write_page(records, tmp_path / "page.md")
    assert render(records) in (tmp_path / "page.md").read_text()
    assert (tmp_path / "page.svg").read_text().count("<polyline") == 2 + 1 + 1 + 1 + 1 + 1


def test_the_published_page_is_what_its_records_give(tmp_path: Path) -> None:
    records: Any = read_records(RECORDS)
    for one in records:  # whoever runs the study today would run these very settings
        arm = arm_named(one["arm"])
        assert one["settings"] == json.loads(json.dumps(study_settings(arm, arm.config(one["seed"]), 500)))
    write_page(records, tmp_path / "learning.md")
    assert (tmp_path / "learning.md").read_text() == (DOCS / "learning.md").read_text()
    assert (tmp_path / "learning.svg").read_text() == (DOCS / "learning.svg").read_text()


def test_a_study_runs_goes_on_and_refuses_other_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = f"learning --out {tmp_path} --arms start --eval-limit 4".split()
    assert main(arguments) == 0
    path = tmp_path / "start-seed0.json"
    first = path.read_text()
    assert {"noise_0", "noise_0.5", "closed_book", "random_queries"} == set(json.loads(first)["after"])
    assert str(tmp_path) not in first
    assert main(arguments) == 0
    assert path.read_text() == first  # it wasn't done again
    assert "| start | 0 |" in capsys.readouterr().out
    assert main([*arguments[:-1], "5"]) == 2
    assert "other settings" in capsys.readouterr().err
    path.write_text("{")
    assert main([*arguments, "--render-only"]) == 2
    assert "is no JSON" in capsys.readouterr().err


def test_supervised_training_needs_the_time_of_rl(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(f"learning --out {tmp_path} --arms supervised --seeds 1 --eval-limit 4".split()) == 2
    assert "there is no grpo-seed0.json" in capfd.readouterr().err


def test_supervised_training_waits_for_the_run_whose_time_it_is_given() -> None:
    grpo, supervised = arm_named("grpo"), arm_named("supervised")
    assert _ready([(supervised, 0), (supervised, 1)], [(grpo, 0)]) == (supervised, 1)
    assert _ready([(supervised, 0)], [(grpo, 0)]) is None
    assert _ready([(supervised, 0), (grpo, 0)], []) == (grpo, 0)
    assert _ready([(supervised, 0)], []) == (supervised, 0)
    assert _ready([], [(grpo, 0)]) is None
