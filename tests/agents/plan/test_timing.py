from __future__ import annotations

from dataclasses import replace

import pytest

from agents.plan.hardware import Hardware
from agents.plan.settings import Assumptions, RunShape
from agents.plan.shapes import ModelShape
from agents.plan.timing import decode_seconds, forward_flops, plan_time, prefill_seconds

# One layer of H 4, F 8, two heads of 2 over one key head: query 16, key 8, value 8, output 16, and three of 32.
SHAPE = ModelShape(
    name="s", vocabulary=10, hidden=4, intermediate=8, num_layers=1, num_heads=2, num_kv_heads=1, head_dim=2
)
IDEAL = Assumptions(
    mfu=1,
    decode_mfu=1,
    bandwidth_share=1,
    layer_overhead_us=0,
    pass_overhead_us=0,
    runtime_gb=0,
    search_latency_s=3,
    tokens_per_document=1,
    logit_passes=0,
    longest_action=1,
    padding=1,
)
# A thousand operations a second, and bytes for nothing.
COMPUTER = Hardware(name="c", is_gpu=False, peak_tflops=1e-9, bandwidth_gb_s=1e9, memory_gb=1)
RUN = RunShape(
    total_steps=10,
    questions=2,
    group_size=2,
    prompt_tokens=10,
    num_actions=2,
    action_tokens=5,
    max_new_tokens=10,
    document_tokens=20,
    max_episode_tokens=100,
    micro_batch_tokens=400,
    max_batch_tokens=4096,
)


def test_a_forward_pass_by_hand() -> None:
    # Matrices: 16 + 8 + 8 + 16 + 3·32 = 144 weights, 288 operations a token. Attention to 10 tokens: two products of
    # 2·4·10. A head of 40 weights: 80 operations.
    assert forward_flops(SHAPE, 3, context=10, head_tokens=2) == 3 * (288 + 160) + 2 * 80


def test_reading_and_writing_by_hand() -> None:
    assert prefill_seconds(SHAPE, COMPUTER, IDEAL, rows=2, prompt=10) == (20 * (288 + 80) + 2 * 80) / 1000
    writing = {"rows": 2.0, "prompt": 10.0, "mean_tokens": 4.0, "longest_tokens": 8.0}
    # Over eight passes, one row is left on average; it looks at 12 tokens.
    assert decode_seconds(SHAPE, RUN, COMPUTER, IDEAL, **writing) == pytest.approx(8 * (288 + 16 * 12 + 80) / 1000)
    # A thousand bytes a second: 184 weights of 4 bytes, and 12 tokens of two key vectors of 2 numbers.
    reader = replace(COMPUTER, peak_tflops=1e9, bandwidth_gb_s=1e-6)
    assert decode_seconds(SHAPE, RUN, reader, IDEAL, **writing) == pytest.approx(8 * (184 * 4 + 12 * 16) / 1000)
    halved = replace(RUN, dtype="bfloat16")
    assert decode_seconds(SHAPE, halved, reader, IDEAL, **writing) == pytest.approx(4 * (184 * 4 + 12 * 16) / 1000)


def test_an_update_is_three_forward_passes_and_a_reference_one() -> None:
    plan = plan_time(SHAPE, replace(RUN, has_reference=True), COMPUTER, IDEAL)
    # Four episodes of 10 + 2·5 + 20 = 40 tokens, each looking at 20; ten of them the policy's.
    forward = 4 * (40 * (288 + 16 * 20) + 10 * 80) / 1000
    assert plan.reference == pytest.approx(forward)
    assert plan.update == pytest.approx(3 * forward, rel=1e-6)
    assert plan.search == 3  # one search an episode, all at once
    assert plan.step == pytest.approx(plan.prefill + plan.decode + 3 + 4 * forward, rel=1e-6)
    assert plan.run == pytest.approx(10 * plan.step)
    again = plan_time(SHAPE, replace(RUN, gradient_checkpointing=True), COMPUTER, IDEAL)
    assert again.update == pytest.approx(4 * forward, rel=1e-6)
    adapters = plan_time(SHAPE, replace(RUN, lora_rank=1), COMPUTER, IDEAL)
    assert adapters.update == pytest.approx(2 * forward, rel=1e-6)
    twice = plan_time(SHAPE, replace(RUN, num_epochs=2), COMPUTER, IDEAL)
    assert twice.update == pytest.approx(6 * forward, rel=1e-6)


def test_a_critic_has_no_head_and_is_asked_and_updated() -> None:
    trunk = 4 * 40 * (288 + 16 * 20) / 1000
    assert plan_time(SHAPE, replace(RUN, has_critic=True), COMPUTER, IDEAL).critic == pytest.approx(4 * trunk, rel=1e-6)


def test_sharing_prompts_and_keeping_what_was_read_save_their_tokens() -> None:
    shared = plan_time(SHAPE, replace(RUN, shared_prompts=True), COMPUTER, IDEAL)
    tokens, context = 4 * 40 - 2 * 10, 20
    assert shared.update == pytest.approx(3 * (tokens * (288 + 16 * context) + 40 * 80) / 1000, rel=1e-6)
    plain, kept = (plan_time(SHAPE, replace(RUN, sampler=name), COMPUTER, IDEAL) for name in ("transformers", "vllm"))
    assert kept.prefill < plain.prefill / 2


def test_several_devices_share_the_episodes() -> None:
    one = plan_time(SHAPE, RUN, COMPUTER, IDEAL)
    two = plan_time(SHAPE, RUN, replace(COMPUTER, num_devices=2), IDEAL)
    assert two.update == pytest.approx(one.update / 2, rel=1e-6)
    assert two.search == one.search


def test_measuring_costs_what_its_episodes_do() -> None:
    plan = plan_time(SHAPE, replace(RUN, evaluation_episodes=8), COMPUTER, IDEAL)
    assert plan.evaluation == pytest.approx(2 * (plan.prefill + plan.decode))
