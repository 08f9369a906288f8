from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import CohereConfig, CohereForCausalLM, Gemma2Config, Gemma2ForCausalLM

from agents.batches import collate
from agents.errors import ModelError
from agents.policy import Policy, load_policy
from agents.testing import byte_tokenizer, tiny_llama
from agents.trajectory import TokenSegment, Trajectory
from zs_env.errors import ConfigError
from zs_env.files import write_folder

SIZES = {
    "vocab_size": 272,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}


def trajectories() -> list[Trajectory]:
    generator = torch.Generator().manual_seed(0)
    made = []
    for lengths in ((5, 4, 7, 3), (2, 9), (11, 1, 3, 8)):
        segments = []
        for turn, length in enumerate(lengths):
            ids = tuple(torch.randint(250, (length,), generator=generator).tolist())
            who = "prompt" if not turn else "policy" if turn % 2 else "environment"
            logprobs = (-1.0,) * length if who == "policy" else None
            segments.append(TokenSegment(who, ids, "", logprobs))  # type: ignore[arg-type]
        made.append(Trajectory(question_id="q", question="q", golden_answers=("a",), group=0, segments=segments))
    return made


def naive_logprobs(policy: Policy, temperature: float) -> list[float]:
    found = []
    for trajectory in trajectories():
        ids, mask = trajectory.ids(), trajectory.policy_mask()
        with torch.no_grad():
            logits = policy.model(input_ids=torch.tensor([ids])).logits[0] / temperature
        found += [float(logits[n - 1].log_softmax(-1)[ids[n]]) for n in range(len(ids)) if mask[n]]
    return found


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_logprobs_of_policy_tokens_alone_equal_full_logits_one_by_one(
    model: torch.nn.Module, temperature: float
) -> None:
    policy = Policy(model, byte_tokenizer())
    assert policy.plain_head
    batch = collate(trajectories(), pad_id=256)
    through_hidden = policy.token_logprobs(batch, temperature=temperature)
    policy.plain_head = False
    through_logits = policy.token_logprobs(batch, temperature=temperature)
    torch.testing.assert_close(through_hidden.logprobs, through_logits.logprobs, atol=1e-5, rtol=0)
    torch.testing.assert_close(through_hidden.entropy, through_logits.entropy, atol=1e-5, rtol=0)
    assert through_hidden.logprobs.tolist() == pytest.approx(naive_logprobs(policy, temperature), abs=2e-5)


@pytest.mark.parametrize("kind", ["softcap", "scale"])
def test_models_that_change_their_logits_go_through_full_logits(kind: str) -> None:
    torch.manual_seed(0)
    if kind == "softcap":
        config = Gemma2Config(**SIZES, head_dim=8, final_logit_softcapping=0.5, initializer_range=0.5)
        policy = Policy(Gemma2ForCausalLM(config), byte_tokenizer())
    else:
        policy = Policy(CohereForCausalLM(CohereConfig(**SIZES, logit_scale=0.25)), byte_tokenizer())
    assert not policy.plain_head
    batch = collate(trajectories())
    assert policy.token_logprobs(batch).logprobs.tolist() == pytest.approx(naive_logprobs(policy, 1.0), abs=2e-5)


@pytest.mark.parametrize("pad_id", [0, 256])
def test_defect_07_a_token_with_the_id_of_the_padding_is_read_and_learned(tiny_policy: Policy, pad_id: int) -> None:
    # 0 and the end-of-turn token stand in prompt, action and documents of rows that are padded with either.
    rows = [
        Trajectory(
            question_id="q",
            question="q",
            golden_answers=("a",),
            group=0,
            segments=[
                TokenSegment("prompt", (5, 0, 256, 8), ""),
                TokenSegment("policy", (0, 11, 256), "", (-1.0,) * 3),
                TokenSegment("environment", (256, 0, 3) * repeats, ""),
                TokenSegment("policy", (12, 0, 256), "", (-1.0,) * 3),
            ],
        )
        for repeats in (1, 4)
    ]
    found = tiny_policy.token_logprobs(collate(rows, pad_id=pad_id)).logprobs
    expected = []
    for row in rows:
        ids = torch.tensor(row.ids())
        with torch.no_grad():
            logprobs = tiny_policy.model(input_ids=ids[None, :-1]).logits[0].log_softmax(-1)  # [T - 1, V]
        places = [4, 5, 6, len(ids) - 3, len(ids) - 2, len(ids) - 1]
        expected += [float(logprobs[place - 1, ids[place]]) for place in places]
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-5, rtol=0)


def test_entropy_has_a_gradient_only_where_asked(tiny_policy: Policy) -> None:
    batch = collate(trajectories())
    assert not tiny_policy.token_logprobs(batch).entropy.requires_grad
    assert tiny_policy.token_logprobs(batch, entropy_gradient=True).entropy.requires_grad


def test_a_saved_policy_loads_as_it_was(tiny_policy: Policy, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    tiny_policy.save(folder)
    with torch.no_grad():
        tiny_policy.model.lm_head.weight.add_(1.0)
    tiny_policy.save(folder)
    loaded = load_policy(folder)
    assert loaded.fingerprints() == tiny_policy.fingerprints()
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}
    assert folder.stat().st_mode & 0o777 == 0o755
    batch = collate(trajectories())
    torch.testing.assert_close(loaded.token_logprobs(batch).logprobs, tiny_policy.token_logprobs(batch).logprobs)


def test_a_save_that_breaks_off_leaves_the_last_one(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    write_folder(folder, lambda path: (path / "weights").write_text("good") and None)

    def full_disk(path: Path) -> None:
        (path / "weights").write_text("half")
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_folder(folder, full_disk)
    assert (folder / "weights").read_text() == "good"
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_what_can_not_be_loaded_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"No model at .*config\.json"):
        load_policy(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "no_such_model"}')
    with pytest.raises(ModelError, match="Can't load"):
        load_policy(tmp_path)
    with pytest.raises(ConfigError, match="float8"):
        load_policy(tmp_path, dtype="float8")


def test_positions_that_depend_on_the_batch_end_the_context_where_they_begin_to(tokenizer: Any) -> None:
    model = tiny_llama()
    model.config.rope_parameters = {"rope_type": "dynamic", "factor": 4.0, "original_max_position_embeddings": 64}
    policy = Policy(model, tokenizer)
    assert policy.max_context_tokens == 64
    with pytest.raises(ConfigError, match="max_episode_tokens=65 is more than the 64 tokens"):
        policy.check_context(65)
    assert Policy(tiny_llama(), tokenizer).max_context_tokens == 4096


def test_a_text_of_one_token_predicts_nothing(tokenizer: Any) -> None:
    episode = Trajectory(
        question_id="q",
        question="?",
        golden_answers=(),
        group=0,
        segments=[TokenSegment("policy", (5,), "", (-1.0,))],
    )
    found = Policy(tiny_llama(), tokenizer).token_logprobs(collate([episode]))
    assert found.logprobs.shape == found.entropy.shape == (0,)
    found.logprobs.sum().backward()
