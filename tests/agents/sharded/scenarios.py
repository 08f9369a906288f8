"""What the ranks of a group do in tests: each scenario is run by all ranks, and gives plain numbers and tensors.

A scenario run `locally` (mesh None) is the same by the plain learners of one process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch.distributed.device_mesh import DeviceMesh

from agents.accumulation import Example
from agents.algorithm import PolicyLoss
from agents.config import TrainConfig, load_config
from agents.critic import Critic, CriticLearner
from agents.errors import CheckpointError, NonFiniteError
from agents.learner import Learner, reference_of
from agents.lora import LoraSettings, add_adapters
from agents.policy import Policy
from agents.ppo import ValueLoss
from agents.sharded import ShardedLearner, put_together, split
from agents.sharded.modules import release
from agents.testing import byte_tokenizer, tiny_lfm2, tiny_llama
from agents.trajectory import TokenSegment, Trajectory

RATE = 3e-3
NUM_STEPS = 4


def config_of(**sections: dict[str, Any]) -> TrainConfig:
    """Settings with which a wrong factor on a gradient shows: the clip of its length is out of the way, and eps, beside
    which Adam would not notice a factor, is of the gradients' own size.
    """
    optimizer = {"eps": 1e-3, "max_grad_norm": 1e6, "weight_decay": 0.1}
    given: dict[str, Any] = {
        "model": {"source": "tiny"},
        "run": {"algorithm": "grpo"},
        "training": {"group_size": 2},
        "questions": {"split": "train"},
        "optimizer": optimizer,
        "learner": {"micro_batch_tokens": 60},
    }
    if sections.get("run") == {"algorithm": "ppo"}:
        given["critic"] = optimizer
    for name, values in sections.items():
        given[name] = given.get(name, {}) | values
    return load_config(given)


def tied_llama() -> Any:
    """A llama whose head is its embeddings, with a vocabulary that is looked at in blocks."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=5001,  # odd, so that it can't be shared out evenly
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=True,
        initializer_range=0.2,
        bos_token_id=None,
        eos_token_id=None,
    )
    return LlamaForCausalLM(config).eval()


def tiny_cohere() -> Any:
    """A model whose logits are more than a product with its head."""
    from transformers import CohereConfig, CohereForCausalLM

    torch.manual_seed(2)
    config = CohereConfig(
        vocab_size=272,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        logit_scale=0.5,
        initializer_range=0.2,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=None,
    )
    return CohereForCausalLM(config).eval()


def episode(group: int, member: int, *lengths: int, vocabulary: int = 250) -> Trajectory:
    """Turns of the policy of these lengths, each with five words of the environment after it; a prompt a group."""
    prompt = torch.Generator().manual_seed(group)
    own = torch.Generator().manual_seed(100 * group + member)

    def draw(count: int, generator: torch.Generator) -> tuple[int, ...]:
        return tuple(torch.randint(vocabulary, (count,), generator=generator).tolist())

    segments = [TokenSegment("prompt", draw(4 + group, prompt), "")]
    for length in lengths:
        logprobs = (-5.5 + torch.rand(length, generator=own)).tolist()
        segments.append(TokenSegment("policy", draw(length, own), "", tuple(logprobs)))
        segments.append(TokenSegment("environment", draw(5, own), ""))
    return Trajectory(
        question_id=f"q{group}", question="?", golden_answers=("x",), group=group, segments=segments, status="answered"
    )


def batch_of(seed: int, count: int) -> list[Example]:
    """Episodes of 1 to 23 policy tokens, mixed over groups, whose tokens have advantages, values and returns."""
    shapes = [(0, 9, 14), (1, 3), (0, 2), (2, 1), (1, 12), (0, 20, 1, 2), (2, 7, 7), (3, 5)][:count]
    drawn = torch.Generator().manual_seed(seed)
    examples = []
    for member, (group, *lengths) in enumerate(shapes):
        trajectory = episode(group, member + 10 * seed, *lengths)
        size = trajectory.num_policy_tokens
        tensors = {name: torch.randn(size, generator=drawn) for name in ("advantages", "values", "returns")}
        examples.append(Example(trajectory).with_(**tensors))
    return examples


class Group:
    """The learners of a group as one, with the methods of `Learner`; without a mesh, `Learner` itself.

    Each rank splits the batch on its own, since splitting gives the same each time.
    """

    def __init__(self, policy: Policy, config: TrainConfig, mesh: DeviceMesh | None) -> None:
        self.mesh, self.config, self.policy = mesh, config, policy
        if mesh is not None:
            self.sharded = ShardedLearner(policy, config, mesh=mesh)
            return
        options: dict[str, Any] = {
            "batching": policy.batching(config.learner.micro_batch_tokens, config.learner.packing),
            "recompute": config.learner.gradient_checkpointing,
        }
        self.learner = Learner(
            policy,
            config.optimizer,
            temperature=config.sampling.temperature,
            reference=reference_of(policy) if config.training.kl_coef else None,
            entropy_gradient=config.training.entropy_coef > 0,
            **options,
        )
        self.critic = CriticLearner(Critic(policy), config.critic, **options)

    def known(self, name: str, examples: Sequence[Example]) -> list[torch.Tensor]:
        """Of `with_reference` and its like: the tensors, in the order of the examples."""
        if self.mesh is None:
            found = getattr(self.critic if name == "with_values" else self.learner, name)(examples)
            field = {"with_reference": "ref_logprobs", "with_old_logprobs": "old_logprobs", "with_values": "values"}
            return [getattr(one, field[name]) for one in found]
        shares = split(examples, self.mesh.size(), None)
        own = getattr(self.sharded, name)(shares[self.mesh.get_rank()])
        every: list[Any] = [None] * self.mesh.size()
        torch.distributed.all_gather_object(every, own)
        return put_together(shares, every)

    def update(self, examples: Sequence[Example], loss: Any, *, critic: bool = False) -> dict[str, float]:
        aggregation = self.config.training.aggregation
        if self.mesh is None:
            who = self.critic if critic else self.learner
            return who.update(examples, loss, aggregation=aggregation, learning_rate=RATE)  # type: ignore[arg-type]
        share = split(examples, self.mesh.size(), aggregation)[self.mesh.get_rank()]
        return (self.sharded.update_critic if critic else self.sharded.update)(share, loss, learning_rate=RATE)

    def weights(self) -> dict[str, torch.Tensor]:
        """The policy's weights that are trained; with a mesh, none but on rank 0."""
        if self.mesh is None:
            parameters = self.policy.model.named_parameters()
            return {name: one.detach().clone() for name, one in parameters if one.requires_grad}
        return {name: one for bucket in self.sharded.weights(max_bytes=5000) for name, one in bucket.items()}


def steps(group: Group, loss: PolicyLoss, first: int, last: int) -> list[dict[str, float]]:
    """Updates on one batch after another; the second and every third has a single example, so that ranks have none."""
    return [group.update(batch_of(step, 1 if step % 3 == 1 else 8), loss) for step in range(first, last)]


def policy_of(model: Any, *, lora: bool = False) -> Policy:
    policy = Policy(model, byte_tokenizer())
    if lora:
        policy = add_adapters(policy, LoraSettings(rank=2), seed=0)
        drawn = torch.Generator().manual_seed(5)
        for name, one in policy.model.named_parameters():
            if ".lora_B." in name:  # they begin at 0, and the reference would be the policy
                one.data.copy_(0.3 * torch.randn(one.shape, generator=drawn))
    return policy


def learns(
    model: Callable[[], Any], *, lora: bool = False, **sections: dict[str, Any]
) -> Callable[..., dict[str, Any]]:
    """A scenario: log-probs of policy and reference before, some updates, and log-probs and weights after."""

    def scenario(mesh: DeviceMesh | None, _: Path) -> dict[str, Any]:
        policy = policy_of(model(), lora=lora)
        config = config_of(**sections)
        before = {name: one.detach().clone() for name, one in policy.model.named_parameters()}
        group = Group(policy, config, mesh)
        loss = PolicyLoss.of(config.training)
        examples = batch_of(99, 8)
        found: dict[str, Any] = {"start": masters_of(group)}
        if config.training.kl_coef:  # the first pass of all: the reference must leave no trace in what is trained
            found["reference"] = group.known("with_reference", examples)
        found["before"] = group.known("with_old_logprobs", examples)
        metrics = steps(group, loss, 0, NUM_STEPS)
        if config.training.kl_coef:
            references = group.known("with_reference", examples)
            found["reference_after"] = references
            known = [one.with_(ref_logprobs=ref) for one, ref in zip(examples, references, strict=True)]
            metrics.append(group.update(known, loss))
        found |= {"metrics": metrics, "after": group.known("with_old_logprobs", examples), "masters": masters_of(group)}
        if mesh is not None:
            found["untouched"] = all(torch.equal(before[name], one) for name, one in policy.model.named_parameters())
        return found

    return scenario


def criticises(*, lora: bool = False, **sections: dict[str, Any]) -> Callable[..., dict[str, Any]]:
    """A scenario: values before, updates of the critic, values after."""

    def scenario(mesh: DeviceMesh | None, _: Path) -> dict[str, Any]:
        config = config_of(run={"algorithm": "ppo"}, **sections)
        group = Group(policy_of(tiny_llama(), lora=lora), config, mesh)
        loss = ValueLoss(0.5)
        metrics = [group.update(batch_of(step, 1 if step == 1 else 8), loss, critic=True) for step in range(NUM_STEPS)]
        return {"metrics": metrics, "after": group.known("with_values", batch_of(99, 8))}

    return scenario


def refuses_nan(mesh: DeviceMesh | None, _: Path) -> dict[str, Any]:
    """A step, one whose loss is NaN in one example, and two more steps."""
    group = Group(policy_of(tiny_llama()), config_of(), mesh)
    loss = PolicyLoss()
    metrics = steps(group, loss, 0, 1)
    before = group.weights()
    broken = batch_of(5, 8)
    assert broken[1].advantages is not None
    broken[1].advantages[0] = torch.nan
    said = ""
    try:
        group.update(broken, loss)
    except NonFiniteError as error:
        said = str(error)
    after = group.weights()
    unchanged = all(torch.equal(before[name], after[name]) for name in before)
    metrics += steps(group, loss, 2, 4)
    return {"said": said, "unchanged": unchanged, "metrics": metrics, "weights": group.weights()}


def nothing_written(mesh: DeviceMesh | None, _: Path) -> dict[str, Any]:
    """Two updates on two episodes, one of which is a single token, so that a rank has no layer to compute for it."""
    group = Group(policy_of(tiny_llama()), config_of(learner={"packing": "padded"}), mesh)
    single = Trajectory(
        question_id="q", question="?", golden_answers=("x",), group=7, segments=[TokenSegment("prompt", (5,), "")]
    )
    examples = [batch_of(3, 1)[0], Example.of(single, 1.0)]
    metrics = [group.update(examples, PolicyLoss()) for _ in range(2)]
    return {"metrics": metrics, "after": group.known("with_old_logprobs", examples), "weights": group.weights()}


def weights_in_buckets(mesh: DeviceMesh | None, folder: Path) -> dict[str, Any]:
    """Weights in bfloat16: in buckets of several sizes, before anything and after a pass that leaves whole weights
    behind; and masters through a checkpoint.
    """
    assert mesh is not None
    policy = policy_of(tiny_llama().bfloat16())
    group = Group(policy, config_of(), mesh)
    learner = group.sharded
    buckets = {size: list(learner.weights(max_bytes=size)) for size in (1, 20_000, 10**9)}
    group.known("with_old_logprobs", batch_of(0, 8))
    again = list(learner.weights(max_bytes=10**9))
    group.update(batch_of(0, 8), PolicyLoss())
    learner.save(folder / f"bfloat16-{mesh.size()}")
    saved = masters_of(group)
    group.update(batch_of(1, 8), PolicyLoss())
    moved = masters_of(group)
    group.known("with_old_logprobs", batch_of(0, 8))  # leaves whole weights behind, which are then old
    learner.load(folder / f"bfloat16-{mesh.size()}")
    found = {"buckets": buckets, "again": again, "saved": saved, "moved": moved, "loaded": masters_of(group)}
    return found | {
        "published": group.weights(),
        "whole": {name: one.detach() for name, one in policy.model.named_parameters()},
    }


def saves(mesh: DeviceMesh | None, folder: Path) -> dict[str, Any]:
    """Policy and critic: a checkpoint, two updates, another, two more."""
    group = Group(policy_of(tiny_llama()), config_of(run={"algorithm": "ppo"}), mesh)
    start = masters_of(group)
    group.sharded.save(folder / "fresh")
    before = _go_on(group, 0)
    group.sharded.save(folder / "state")
    return {"start": start, "before": before, "after": _go_on(group, 2)}


def goes_on(mesh: DeviceMesh | None, folder: Path) -> dict[str, Any]:
    """The same from the checkpoint, by learners that have been elsewhere; and from the one before all updates."""
    group = Group(policy_of(tiny_llama(seed=3)), config_of(run={"algorithm": "ppo"}), mesh)
    group.update(batch_of(9, 8), PolicyLoss())
    group.update(batch_of(9, 8), ValueLoss(0.5), critic=True)
    group.sharded.load(folder / "state")
    after = _go_on(group, 2)
    group.sharded.load(folder / "fresh")
    return {"after": after, "before": _go_on(group, 0)}


def refuses_other_states(mesh: DeviceMesh | None, folder: Path) -> dict[str, Any]:
    """What is said of a checkpoint of another algorithm, of another model, and of none."""
    found: dict[str, Any] = {}
    for what, model, algorithm in (
        ("algorithm", tiny_llama, "grpo"),
        ("model", tiny_lfm2, "ppo"),
        ("none", tiny_llama, "grpo"),
    ):
        group = Group(policy_of(model()), config_of(run={"algorithm": algorithm}), mesh)
        before = masters_of(group)
        try:
            group.sharded.load(folder / ("none" if what == "none" else "state"))
        except CheckpointError as error:
            after = masters_of(group)
            found[what] = (str(error), all(torch.equal(before[name], after[name]) for name in before))
    return found


def listens(mesh: DeviceMesh | None, _: Path) -> dict[str, Any]:
    """Where this process listens, once the group has talked."""
    torch.distributed.all_reduce(torch.ones(1))
    return {"addresses": listening()}


def listening() -> list[str]:
    """The addresses that this process listens at, from Linux' own tables, as they write them: 0100007F is 127.0.0.1."""
    inodes = set()
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            inodes.add(os.readlink(link))
    found = []
    for table in ("tcp", "tcp6"):
        path = Path("/proc/self/net", table)
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                found.append(fields[1].partition(":")[0])
    return found


def masters_of(group: Group) -> dict[str, torch.Tensor]:
    """The policy's trained weights, whole, as the optimizer has them."""
    if group.mesh is None:
        names = [name for name, one in group.policy.model.named_parameters() if one.requires_grad]
        masters = group.learner.parameters.masters
        return {name: one.detach().clone() for name, one in zip(names, masters, strict=True)}
    release(group.sharded.policy.model)
    parameters = group.sharded.policy.model.named_parameters()
    return {name: one.detach().full_tensor().clone() for name, one in parameters if one.requires_grad}  # type: ignore[attr-defined]


def _go_on(group: Group, first: int) -> dict[str, Any]:
    values = group.known("with_values", batch_of(98, 8))
    metrics = steps(group, PolicyLoss(), first, first + 2)
    metrics += [group.update(batch_of(step, 8), ValueLoss(0.5), critic=True) for step in range(first, first + 2)]
    return {"metrics": metrics, "values": values, "masters": masters_of(group)}


PACKED = {"packing": "shared"}
SCENARIOS: dict[str, Callable[[DeviceMesh | None, Path], dict[str, Any]]] = {
    "llama_packed": learns(tiny_llama, learner=PACKED, training={"kl_coef": 0.3, "kl_estimator": "k2"}),
    "llama_padded": learns(  # and gradients are shortened
        tiny_llama,
        learner={"packing": "padded"},
        training={"aggregation": "sequence_mean"},
        optimizer={"max_grad_norm": 0.1, "eps": 1e-4},
    ),
    "llama_recomputed": learns(
        tiny_llama, learner={**PACKED, "gradient_checkpointing": True}, sampling={"temperature": 1.3}
    ),
    "tied_recomputed": learns(
        tied_llama, learner={**PACKED, "gradient_checkpointing": True}, training={"entropy_coef": 0.1}
    ),
    "lfm2_recomputed": learns(tiny_lfm2, learner={"gradient_checkpointing": True}),
    "tied_padded": learns(tied_llama, learner={"packing": "padded"}),
    "lora": learns(tiny_llama, lora=True, learner={"gradient_checkpointing": True}, training={"kl_coef": 0.3}),
    "lora_bfloat16": learns(lambda: tiny_llama().bfloat16(), lora=True, training={"kl_coef": 0.3}),
    "bfloat16": learns(lambda: tiny_llama().bfloat16(), training={"kl_coef": 0.3}),
    "critic": criticises(),
    "critic_padded": criticises(learner={"packing": "padded", "gradient_checkpointing": True}),
    "critic_lora": criticises(lora=True),
    "cohere": learns(tiny_cohere),
    "nan": refuses_nan,
    "nothing_written": nothing_written,
    "buckets": weights_in_buckets,
    "saves": saves,
    "goes_on": goes_on,
    "other_states": refuses_other_states,
    "listens": listens,
}
