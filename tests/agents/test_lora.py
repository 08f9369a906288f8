import copy
import json
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from agents.accumulation import Example
from agents.algorithm import TrainingSettings
from agents.batches import collate
from agents.cli import main
from agents.conversation import RolloutSettings
from agents.critic import Critic, CriticLearner
from agents.errors import ModelError
from agents.executors import LocalExecutor
from agents.grpo import Grpo
from agents.learner import Learner, frozen_copy, reference_of
from agents.lora import LoraPolicy, LoraSettings, add_adapters, merge_adapters, merged_state
from agents.optimization import OptimizerSettings
from agents.policy import Policy, load_policy
from agents.ppo import CriticSettings, Ppo, PpoSettings
from agents.questions import NoiseSchedule
from agents.reinforce import Reinforce
from agents.samplers import SamplingSettings
from agents.testing import MODELS, byte_tokenizer, tiny_lfm2, tiny_llama
from tests.agents.doubles import first_letters, make_trajectory
from zs_env.episode import EpisodeSettings
from zs_env.errors import ConfigError, MissingPackageError
from zs_env.rewards import REWARDS
from zs_env.types import Question

IDS = torch.randint(250, (2, 40), generator=torch.Generator().manual_seed(0))
COMMON: dict[str, Any] = {"optimizer": OptimizerSettings(learning_rate=1e-2), "noise": NoiseSchedule(), "seed": 0}


def adapted(
    kind: str = "lfm2", *, trained: bool = True, dtype: torch.dtype = torch.float32, **given: Any
) -> LoraPolicy:
    """A policy with adapters; B isn't 0 any more, as after some training."""
    settings = LoraSettings(**({"rank": 4} | given))
    policy = add_adapters(Policy(MODELS[kind]().to(dtype), byte_tokenizer()), settings, seed=0)
    if trained:
        generator = torch.Generator().manual_seed(1)
        for name, factor in policy.adapter_state().items():
            if "lora_B" in name:
                factor.copy_(0.05 * torch.randn(factor.shape, generator=generator))
    return policy


@torch.no_grad()
def logits_of(model: Any) -> torch.Tensor:
    return model(input_ids=IDS, use_cache=False).logits.float()  # type: ignore[no-any-return]


def batch() -> Any:
    return collate([make_trajectory(group, 1.0, 6 + group) for group in range(3)])


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_it_begins_as_the_model_that_it_was_given(kind: str) -> None:
    plain = MODELS[kind]()
    policy = adapted(kind, trained=False)
    assert torch.equal(logits_of(policy.model), logits_of(plain))
    assert policy.fingerprints()["base"] == Policy(plain, byte_tokenizer()).fingerprints()["model"]
    trained = {name for name, parameter in policy.model.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, _ in policy.model.named_parameters() if ".lora_" in name}
    assert not policy.model.training


def test_the_seed_alone_decides_where_it_begins() -> None:
    found = []
    for seed, drawn_before in ((0, 1), (0, 2), (1, 1)):
        policy = Policy(tiny_lfm2(), byte_tokenizer())
        torch.manual_seed(drawn_before)
        before = torch.get_rng_state()
        found.append(add_adapters(policy, LoraSettings(rank=4), seed=seed).adapter_state())
        assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert not all(torch.equal(found[0][name], found[2][name]) for name in found[0])
    for name, factor in found[0].items():
        assert bool(factor.any()) == ("lora_A" in name)
        if "lora_A" in name:  # uniform in ±1/√inputs, as Kaiming's with a = √5
            assert float(factor.abs().max()) <= factor.shape[1] ** -0.5


@pytest.mark.parametrize("kind", sorted(MODELS))
@pytest.mark.parametrize("given", [{}, {"alpha": 3.0}, {"use_rslora": True}])
def test_merged_weights_do_what_the_adapters_do(kind: str, given: dict[str, Any]) -> None:
    policy, plain = adapted(kind, **given), MODELS[kind]()
    expected, state = logits_of(policy.model), merged_state(policy)
    assert (expected - logits_of(plain)).abs().max() > 0.1
    assert {name: value.shape for name, value in state.items()} == {
        name: value.shape for name, value in plain.state_dict().items()
    }
    plain.load_state_dict(state)
    torch.testing.assert_close(logits_of(plain), expected, atol=1e-5, rtol=1e-5)
    merged = merge_adapters(policy)
    assert not isinstance(merged, LoraPolicy)
    assert all(torch.equal(value, state[name]) for name, value in merged.model.state_dict().items())
    assert all(parameter.requires_grad for parameter in merged.model.parameters())
    assert type(merged.model.get_submodule("model.layers.1.self_attn.q_proj")) is torch.nn.Linear
    assert merged_state(merged).keys() == state.keys()


def test_the_scale_is_that_of_the_papers() -> None:
    # W + s·B·A, with s = alpha / rank, and alpha / √rank for rsLoRA; alpha is twice the rank.
    name = "model.layers.1.self_attn.q_proj"
    for given, scale in (({}, 2.0), ({"alpha": 6.0}, 1.5), ({"alpha": 6.0, "use_rslora": True}, 3.0)):
        policy = adapted("llama", **given)
        factors = policy.adapter_state()
        a, b = (factors[f"base_model.model.{name}.lora_{factor}.weight"] for factor in "AB")
        expected = tiny_llama().get_submodule(name).weight + scale * (b @ a)
        torch.testing.assert_close(merged_state(policy)[f"{name}.weight"], expected)


def test_bfloat16_weights_have_factors_of_float32() -> None:
    policy = adapted("llama", dtype=torch.bfloat16)
    assert {factor.dtype for factor in policy.adapter_state().values()} == {torch.float32}
    assert policy.base.dtype == "bfloat16"
    exact = copy.deepcopy(policy.model).float()  # the same numbers, computed in float32
    beside, truth = logits_of(policy.model), logits_of(exact)
    assert policy.token_logprobs(batch()).logprobs.requires_grad
    state = merged_state(policy)
    assert {value.dtype for value in state.values()} == {torch.bfloat16}
    plain = tiny_llama().to(torch.bfloat16)
    plain.load_state_dict(state)
    merged = logits_of(plain)
    # bfloat16 has 8 bits: the two differ by up to 5 % of the largest logit, and are equally far from the truth.
    assert (merged - beside).abs().max() < 0.05 * truth.abs().max()
    assert (merged - truth).abs().mean() < 1.2 * (beside - truth).abs().mean()
    # Merged into float32, nothing is rounded that wasn't before.
    wide = merge_adapters(policy, dtype=torch.float32)
    torch.testing.assert_close(logits_of(wide.model), truth, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_the_fast_path_reads_the_adapters(kind: str) -> None:
    policy = adapted(kind)
    assert policy.plain_head
    fast = policy.token_logprobs(batch()).logprobs
    policy.plain_head = False
    torch.testing.assert_close(fast, policy.token_logprobs(batch()).logprobs, atol=1e-5, rtol=0)
    merged = merge_adapters(policy)
    torch.testing.assert_close(fast, merged.token_logprobs(batch()).logprobs, atol=1e-5, rtol=0)
    plain = Policy(MODELS[kind](), byte_tokenizer())
    assert (fast - plain.token_logprobs(batch()).logprobs).abs().max() > 1e-2


def test_the_reference_is_the_model_without_its_adapters() -> None:
    policy, plain = adapted(), Policy(tiny_lfm2(), byte_tokenizer())
    reference = reference_of(policy)
    assert reference.model is policy.model
    before = policy.token_logprobs(batch()).logprobs
    assert torch.equal(reference.token_logprobs(batch()).logprobs, plain.token_logprobs(batch()).logprobs)
    assert reference.fingerprints() == plain.fingerprints()
    # And then they are there again, to be read and trained.
    assert torch.equal(policy.token_logprobs(batch()).logprobs, before)
    assert all(parameter.requires_grad for name, parameter in policy.model.named_parameters() if ".lora_" in name)
    for refused in (reference.sampler, lambda: reference.save(Path("nowhere"))):
        with pytest.raises(ModelError, match="reference"):
            refused()
    # A whole policy's is a copy.
    assert reference_of(plain).model is not plain.model


def test_who_reads_the_reference_side_by_side_sees_no_adapters() -> None:
    policy = adapted()
    plain = logits_of(tiny_lfm2())
    with policy.without_adapters():
        with policy.without_adapters():
            pass
        assert torch.equal(logits_of(policy.model), plain)
    assert not torch.equal(logits_of(policy.model), plain)


def executor_of(policy: Policy, engine: Any, training: TrainingSettings, *, critic: bool = False) -> LocalExecutor:
    return LocalExecutor(
        Learner(policy, COMMON["optimizer"], reference=reference_of(policy) if training.kl_coef else None),
        critic=CriticLearner(Critic(policy), OptimizerSettings(learning_rate=1e-2), num_workers=2) if critic else None,
        engine=engine,
        episode_settings=EpisodeSettings(prompt="short", max_turns=2, reward=first_letters),
        rollout_settings=RolloutSettings(max_new_tokens=12, max_episode_tokens=600),
        sampling=SamplingSettings(),
        seed=0,
    )


@pytest.mark.parametrize("kind", sorted(MODELS))
@pytest.mark.parametrize("algorithm", ["grpo", "ppo", "reinforce"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_step_moves_the_adapters_alone(
    kind: str, algorithm: str, dtype: torch.dtype, engine: Any, questions: list[Question]
) -> None:
    policy = adapted(kind, dtype=dtype)
    before = copy.deepcopy(policy.model.state_dict())
    training = TrainingSettings(total_steps=1, questions_per_step=2, group_size=4, kl_coef=0.01)
    executor = executor_of(policy, engine, training, critic=algorithm == "ppo")
    if algorithm == "ppo":
        step = Ppo(executor, questions, training, PpoSettings(), critic=CriticSettings(), **COMMON).step(0)
    elif algorithm == "reinforce":
        step = Reinforce(executor, questions, training, **COMMON).step(0)
    else:
        step = Grpo(executor, questions, training, **COMMON).step(0)
    assert step.metrics["kl"] > 0  # it has been moved away from its base already
    assert step.metrics["logprob_difference"] < (1e-4 if dtype == torch.float32 else 0.2)
    after = policy.model.state_dict()
    for name, value in before.items():
        assert torch.equal(value, after[name]) == (".lora_" not in name), name
    assert len(executor.learner.parameters.optimizer.state) == len(policy.adapter_state())
    if executor.critic is not None:
        critic, shared = executor.critic.critic, dict(policy.model.base_model.named_parameters())
        for name, parameter in critic.trunk.named_parameters():
            assert (parameter is shared[name]) == (".lora_" not in name), name
        kept = executor.critic.state_dict()
        assert {name for name in kept["critic"] if ".lora_" not in name} == {"head.weight", "head.bias"}
        assert float(kept["critic"]["head.weight"].abs().sum()) > 0
        other = CriticLearner(Critic(adapted(kind, dtype=dtype)), OptimizerSettings())
        other.load_state_dict(kept)
        examples = [example_of(group) for group in range(2)]
        for one, another in zip(other.with_values(examples), executor.critic.with_values(examples), strict=True):
            assert torch.equal(one.values, another.values)  # type: ignore[arg-type]


def example_of(group: int) -> Example:
    return Example.of(make_trajectory(group, 1.0, 6), 1.0)


def test_no_gradient_is_kept_for_what_is_frozen() -> None:
    policy = adapted()
    policy.token_logprobs(batch()).logprobs.sum().backward()  # type: ignore[no-untyped-call]
    for name, parameter in policy.model.named_parameters():
        assert (parameter.grad is not None) == (".lora_" in name), name


@pytest.fixture
def local(tmp_path: Path) -> Path:
    """A model in a folder."""
    Policy(tiny_lfm2(), byte_tokenizer()).save(tmp_path / "models" / "tiny")
    return tmp_path / "models" / "tiny"


def over(folder: Path, dtype: str = "float32") -> LoraPolicy:
    """Trained adapters over a model in a folder."""
    policy = add_adapters(load_policy(folder, dtype=dtype), LoraSettings(rank=4), seed=0, source=str(folder))
    policy.load_adapter_state(adapted().adapter_state())
    return policy


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_is_saved_is_adapters_that_load_as_they_were(dtype: str, local: Path, tmp_path: Path) -> None:
    policy, folder = over(local, dtype), tmp_path / "saved"
    policy.save(folder, settings={"schema": "zerosearch.checkpoint/1"})
    assert {path.name for path in folder.iterdir()} == {
        *("adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "tokenizer_config.json"),
        "zerosearch.json",
    }
    assert str(tmp_path) not in "".join(path.read_text() for path in folder.glob("*.json"))
    loaded = load_policy(folder, base=str(local), dtype=dtype)
    assert isinstance(loaded, LoraPolicy)
    assert loaded.fingerprints() == policy.fingerprints()
    assert torch.equal(logits_of(loaded.model), logits_of(policy.model))
    again = tmp_path / "again"
    loaded.save(again)
    assert (again / "adapter_model.safetensors").read_bytes() == (folder / "adapter_model.safetensors").read_bytes()
    assert (again / "adapter_config.json").read_bytes() == (folder / "adapter_config.json").read_bytes()


def test_peft_itself_reads_what_is_saved_and_we_read_what_peft_saves(local: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, PeftModel, get_peft_model

    policy = over(local)
    policy.save(tmp_path / "saved")
    theirs = PeftModel.from_pretrained(load_policy(local).model, str(tmp_path / "saved"))
    assert torch.equal(logits_of(theirs), logits_of(policy.model))

    config = LoraConfig(r=3, lora_alpha=5, target_modules=["q_proj", "w1"], task_type="CAUSAL_LM", lora_dropout=0.1)
    made = get_peft_model(load_policy(local).model, config)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.03)
    made.eval().save_pretrained(tmp_path / "theirs")
    ours = load_policy(tmp_path / "theirs", base=str(local))
    assert isinstance(ours, LoraPolicy)
    assert torch.equal(logits_of(ours.model), logits_of(made))
    for change, message in (
        ({"use_dora": True}, "use_dora=True: plain LoRA"),
        ({"peft_type": "IA3"}, "'IA3'"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
    ):
        path = tmp_path / "theirs" / "adapter_config.json"
        record = json.loads(path.read_text())
        path.write_text(json.dumps(record | change))
        with pytest.raises(ModelError, match=re.escape(message)):
            load_policy(tmp_path / "theirs", base=str(local))
        path.write_text(json.dumps(record))


def test_fingerprints_cover_adapters_base_and_scale(local: Path) -> None:
    first = over(local)
    found = {first.fingerprints()["model"]}
    with torch.no_grad():
        first.adapter_state()["base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight"][0, 0] += 1e-3
    found.add(first.fingerprints()["model"])
    found.add(adapted().fingerprints()["model"])
    found.add(adapted(alpha=4.0).fingerprints()["model"])
    other = add_adapters(Policy(tiny_lfm2(seed=1), byte_tokenizer()), LoraSettings(rank=4), seed=0)
    other.load_adapter_state(adapted().adapter_state())
    found.add(other.fingerprints()["model"])
    assert len(found) == 4  # `adapted()` is the very policy that the first one was
    assert over(local).fingerprints() == adapted().fingerprints()


def test_a_base_that_is_gone_or_another_is_named(local: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "saved"
    over(local).save(folder)
    with pytest.raises(ConfigError, match=r"trained over 'tiny', which isn't here.*--base-model"):
        load_policy(folder)
    shutil.copytree(local, tmp_path / "tiny")  # under its name in the folder one is in
    expected = load_policy(folder).fingerprints()
    Policy(tiny_lfm2(seed=1), byte_tokenizer()).save(tmp_path / "tiny")
    with pytest.raises(ConfigError, match=r"have [0-9a-f]{16}: with them it would be another policy"):
        load_policy(folder)
    assert load_policy(folder, base=str(local)).fingerprints() == expected
    with pytest.raises(ConfigError, match="is a whole model, so it takes no base model"):
        load_policy(local, base=str(local))
    with pytest.raises(ConfigError, match="No model at"):
        load_policy(folder, base="./nowhere")


def test_adapters_that_are_broken_or_anothers_are_named(local: Path, tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    over(local).save(folder)
    weights = folder / "adapter_model.safetensors"
    whole = weights.read_bytes()
    state = {name: factor.clone() for name, factor in load_file(weights).items()}
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="can't be read"):
        load_policy(folder, base=str(local))
    state.pop(sorted(state)[0])
    save_file(state, weights)
    with pytest.raises(ModelError, match="1 of 34 factors are missing"):
        load_policy(folder, base=str(local))
    with pytest.raises(ModelError, match="has none"):
        over(local).take_weights(load_policy(local))


def test_a_missing_peft_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingPackageError, match=re.escape('pip install "peft>=0.17,<1"')):
        add_adapters(Policy(tiny_lfm2(), byte_tokenizer()), LoraSettings(rank=4), seed=0)
    command = f"train --preset quickstart --lora-rank 4 --runs {tmp_path}"
    assert main(command.split()) == 2
    assert 'pip install "peft>=0.17,<1"' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": -1}, "rank"),
        ({"rank": 4, "alpha": 0.0}, "alpha must be a finite number above 0"),
        ({"alpha": 8.0}, "give a rank, too"),
        ({"rank": 4, "dropout": 0.1}, "dropout must be 0; got 0.1: the learner's log-probs"),
        ({"rank": 4, "target_modules": "q_proj"}, r"For one name, give \['q_proj'\]"),
        ({"rank": 4, "target_modules": ()}, "names no layer"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LoraSettings(**settings)


@pytest.mark.parametrize("names", [("query",), ("lm_head",), ("embed_tokens",), ("q_proj", "lm_head")])
def test_layers_that_can_not_be_adapted_are_named(names: Sequence[str]) -> None:
    with pytest.raises(ConfigError, match=r"target_modules=.*Linear layers of this model: .*q_proj"):
        adapted(target_modules=tuple(names))


def test_adapters_are_not_put_on_adapters() -> None:
    with pytest.raises(ConfigError, match="merge them first"):
        add_adapters(adapted(), LoraSettings(rank=4), seed=0)
    with pytest.raises(ConfigError, match="rank of at least 1"):
        add_adapters(Policy(tiny_lfm2(), byte_tokenizer()), LoraSettings(), seed=0)


def test_a_frozen_copy_keeps_its_adapters() -> None:
    policy = adapted()
    assert torch.equal(logits_of(frozen_copy(policy).model), logits_of(policy.model))


@pytest.fixture
def letters(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reward that a random model can earn."""
    monkeypatch.setitem(REWARDS, "letters", first_letters)


def train_flags(model: Path | str, root: Path, name: str, *more: str) -> list[str]:
    return (
        f"train --model {model} --runs {root} --run-name {name} --prompt short --total-steps 2 --questions-per-step 2 "
        "--group-size 2 --max-new-tokens 8 --max-episode-tokens 500 --max-turns 2 --eval-limit 2 --limit 5 --seed 3 "
        "--threads 1 --learning-rate 1e-3 --reward letters"
    ).split() + list(more)


@pytest.mark.usefixtures("letters")
def test_a_run_from_training_to_export(local: Path, tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    runs = tmp_path / "runs"
    assert main(train_flags(local, runs, "first", "--lora-rank", "4", "--lora-alpha", "6", "--kl-coef", "0.1")) == 0
    run = runs / "first"
    assert (run / "base").resolve() == local
    written = "".join(path.read_text() for path in (*run.glob("*.json*"), *(run / "checkpoint").glob("*.json")))
    assert str(tmp_path) not in written
    summary = json.loads((run / "summary.json").read_text())
    assert summary["settings"]["lora"]["rank"] == 4
    assert summary["fingerprints"]["base"] == load_policy(local).fingerprints()["model"]

    # Wherever one is, a run's folder and its checkpoint are played as in training.
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert main(f"eval --model {run} --limit 2 --noise-probability 0 --json eval.json".split()) == 0
    evaluated = json.loads(Path("eval.json").read_text())
    assert evaluated["results"]["noise_0"] == summary["after"]["noise_0"]
    assert evaluated["fingerprints"]["model"] == summary["fingerprints"]["model_after"]
    assert main(["ask", "What is the capital of Kenya?", "--model", str(run / "checkpoint")]) == 0

    policy = load_policy(run / "checkpoint")
    expected = logits_of(policy.model)
    assert (expected - logits_of(load_policy(local).model)).abs().max() > 1e-4
    assert main(["export", "--model", str(run), "--out", "merged"]) == 0
    assert not list(Path("merged").glob("adapter*"))
    merged = load_policy("merged")
    assert not isinstance(merged, LoraPolicy)
    torch.testing.assert_close(logits_of(merged.model), expected, atol=1e-5, rtol=1e-5)
    card = Path("merged", "README.md").read_text()
    assert "LoRA of rank 4, alpha 6, on in_proj, k_proj" in card
    assert "merged into the weights" in card
    assert "exact match, greedy" in card

    assert main(["export", "--model", str(run), "--out", "alone", "--adapters"]) == 0
    assert not list(Path("alone").glob("model*"))
    card = Path("alone", "README.md").read_text()
    assert "library_name: peft" in card
    assert "PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(BASE), MODEL)" in card
    compile(re.findall(r"```python\n(.*?)\n```", card, flags=re.DOTALL)[0], "snippet", "exec")
    assert torch.equal(logits_of(load_policy("alone", base=str(local)).model), expected)
    capsys.readouterr()
    for flags, message in (
        (["--model", "alone"], "--base-model PATH"),
        (["--model", str(run), "--adapters", "--dtype", "bfloat16"], "leave one of them out"),
        (["--model", "merged", "--adapters"], "wasn't trained with LoRA"),
    ):
        assert main(["export", *flags, "--out", "none"]) == 2
        assert message in capsys.readouterr().err
        assert not Path("none").exists()
    command = f"eval --model alone --base-model {local} --limit 1 --noise-probability 0".split()
    assert main(command) == 0

    # What goes on from it begins with what it does, with new adapters or as a whole.
    for name, flags in (("second", ["--lora-rank", "2"]), ("whole", [])):
        assert main(train_flags(run, runs, name, *flags)) == 0
        began = json.loads((runs / name / "summary.json").read_text())
        assert began["before"] == summary["after"]
        went_on = load_policy(runs / name / "checkpoint")
        assert isinstance(went_on, LoraPolicy) == bool(flags)
        assert went_on.fingerprints()["model"] == began["fingerprints"]["model_after"]
    # Where a system has no links, there is a copy, which isn't taken for its own base.
    (runs / "second" / "base").unlink()
    shutil.copytree(run / "checkpoint", runs / "second" / "base")
    with pytest.raises(ConfigError, match="trained over 'tiny', which isn't here"):
        load_policy(runs / "second" / "checkpoint")


@pytest.mark.usefixtures("letters")
def test_a_run_goes_on_over_the_weights_that_it_began_with(
    local: Path, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    runs, other = tmp_path / "runs", tmp_path / "other"
    assert main(train_flags(local, runs, "first", "--lora-rank", "4", "--kl-coef", "0.1")) == 0
    summary = json.loads((runs / "first" / "summary.json").read_text())
    Policy(tiny_lfm2(seed=1), byte_tokenizer()).save(other)
    monkeypatch.chdir(other)
    resume = ["train", "--resume", "--run-name", "first", "--runs", str(runs)]

    def going_on(*flags: str) -> tuple[int, str]:
        (runs / "first" / "summary.json").unlink(missing_ok=True)  # as if it had been killed right before
        code = main([*resume, *flags])
        return code, capsys.readouterr().err

    assert going_on()[0] == 0
    assert json.loads((runs / "first" / "summary.json").read_text())["fingerprints"] == summary["fingerprints"]
    (runs / "first" / "base").unlink()
    code, said = going_on()
    assert code == 2
    assert "trained over 'tiny', which isn't here" in said
    for flag in ("--model", "--base-model"):
        code, said = going_on(flag, str(other))
        assert code == 2
        assert "it would be another policy" in said
        assert going_on(flag, str(local))[0] == 0
    code, said = going_on("--lora-rank", "8", "--model", str(local))
    assert code == 2
    assert "[lora] rank was 4 and is now 8" in said


@pytest.mark.usefixtures("letters")
def test_lora_trains_over_weights_of_another_type(local: Path, tmp_path: Path) -> None:
    config = tmp_path / "bfloat16.toml"
    config.write_text('[model]\ndtype = "bfloat16"\n')
    flags = train_flags(local, tmp_path / "runs", "half", "--config", str(config), "--lora-rank", "4")
    assert main(flags) == 0
    loaded = load_policy(tmp_path / "runs" / "half" / "checkpoint", dtype="bfloat16")
    assert isinstance(loaded, LoraPolicy)
    assert loaded.base.dtype == "bfloat16"
    summary = json.loads((tmp_path / "runs" / "half" / "summary.json").read_text())
    assert loaded.fingerprints()["model"] == summary["fingerprints"]["model_after"]
    # Read in another type, they are the weights that were trained over, without more rounding.
    wide = load_policy(tmp_path / "runs" / "half" / "checkpoint")
    assert wide.model.dtype == torch.float32
    assert wide.fingerprints() == loaded.fingerprints()


def test_a_narrower_type_rounds_weights_and_nothing_else(local: Path, tmp_path: Path) -> None:
    over(local).save(tmp_path / "saved")
    expected = {name: value.dtype for name, value in load_policy(local, dtype="bfloat16").model.named_buffers()}
    assert torch.float32 in expected.values()  # the frequencies of rotary embeddings
    narrow = load_policy(tmp_path / "saved", base=str(local), dtype="bfloat16")
    assert isinstance(narrow, LoraPolicy)
    assert narrow.model.dtype == torch.bfloat16
    assert {factor.dtype for factor in narrow.adapter_state().values()} == {torch.float32}
    assert {name: value.dtype for name, value in narrow.model.named_buffers()} == expected
    merged = merge_adapters(narrow, dtype=torch.float16)
    assert {parameter.dtype for parameter in merged.model.parameters()} == {torch.float16}
    assert {name: value.dtype for name, value in merged.model.named_buffers()} == expected


def test_the_quickstart_s_model_trains_with_lora(tmp_path: Path) -> None:
    command = (
        f"train --preset quickstart --lora-rank 4 --total-steps 2 --questions-per-step 2 --group-size 4 --eval-limit 2 "
        f"--runs {tmp_path} --run-name lora --learning-rate 3e-3"
    )
    assert main(command.split()) == 0
    loaded = load_policy(tmp_path / "lora" / "checkpoint")
    assert isinstance(loaded, LoraPolicy)
    assert loaded.base.source == "preset:quickstart_warmstart"
    summary = json.loads((tmp_path / "lora" / "summary.json").read_text())
    assert loaded.fingerprints()["model"] == summary["fingerprints"]["model_after"]
    assert summary["fingerprints"]["model"] != summary["fingerprints"]["model_after"]
