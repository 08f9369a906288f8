"""Supervised training of the small policy on weak demonstrations."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from agents.batches import TokenBatch
from agents.policy import Policy
from agents.warmstart.demonstrations import MISSING, UNKNOWN, Demonstration, DemonstrationSettings, Demonstrator
from agents.warmstart.names import Inventor
from agents.warmstart.tokenizer import build_tokenizer, template_words
from zs_env.bridge import search_blocking
from zs_env.curriculum import check_whole
from zs_env.engines import make_engine
from zs_env.episode import EpisodeSettings
from zs_env.errors import ConfigError
from zs_env.files import write_folder
from zs_env.questions import World, load_atlas
from zs_env.questions.atlas_text import PHRASES
from zs_env.types import SearchEngine, SearchRequest

__all__ = ["ModelShape", "WarmStartSettings", "copy_accuracy", "make_model", "warm_start"]

END_OF_THOUGHT = "</think>"


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """The shape of the small policy: LFM2, short convolutions and attention (transformers' `Lfm2ForCausalLM`).

    A convolution that reaches back over a whole sentence lets one attention layer find the sentence that it wants;
    that is why so small a model learns to copy within minutes where a model of attention alone does not.

    Attributes:
        width: Hidden width.
        layers: One letter a layer: "c" a convolution, "a" attention.
        head_width: Width of an attention head.
        kernel: Tokens that a convolution sees.
        expansion: The feed-forward layers' width, in hidden widths.
        initial_std: Standard deviation of the initial weights.
        rope_theta: Base of the rotary position embedding.
        vocabulary_size: Entries of the tokenizer.
    """

    width: int = 64
    layers: str = "cca"
    head_width: int = 32
    kernel: int = 12
    expansion: int = 2
    initial_std: float = 0.1
    rope_theta: float = 10_000.0
    vocabulary_size: int = 800

    def __post_init__(self) -> None:
        if not self.layers or set(self.layers) - {"c", "a"}:
            raise ConfigError(f"layers must be letters 'c' and 'a'; got {self.layers!r}.")
        if self.width % self.head_width:
            raise ConfigError(f"width ({self.width}) must be a multiple of head_width ({self.head_width}).")


@dataclass(frozen=True, kw_only=True)
class WarmStartSettings:
    """How the warm start is made. The defaults make the checkpoint that ships.

    Attributes:
        seed: The seed of everything.
        num_steps: Optimizer steps.
        batch_size: Demonstrations a step. Small ones make many steps, which is what learning to copy wants.
        learning_rate: Its peak; it falls to a hundredth along a cosine.
        warmup_steps: Steps in which it rises.
        weight_decay: AdamW's, on matrices.
        max_grad_norm: Gradients are clipped to this norm.
        max_turns: The episodes' turns.
        topk: Documents a search.
        model: The policy's shape.
        demonstrations: How weak they are.
    """

    seed: int = 0
    num_steps: int = 20_000
    batch_size: int = 4
    learning_rate: float = 2e-3
    warmup_steps: int = 100
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    max_turns: int = 5
    topk: int = 5
    model: ModelShape = field(default_factory=ModelShape)
    demonstrations: DemonstrationSettings = field(default_factory=DemonstrationSettings)

    def __post_init__(self) -> None:
        for name in ("num_steps", "batch_size", "warmup_steps", "max_turns", "topk"):
            check_whole(name, getattr(self, name), least=1)


def make_model(shape: ModelShape, vocabulary_size: int, seed: int) -> Any:
    """A fresh model of a shape."""
    from transformers import Lfm2Config, Lfm2ForCausalLM

    config = Lfm2Config(
        vocab_size=vocabulary_size,
        hidden_size=shape.width,
        intermediate_size=shape.expansion * shape.width,
        num_hidden_layers=len(shape.layers),
        num_attention_heads=shape.width // shape.head_width,
        num_key_value_heads=shape.width // shape.head_width,
        max_position_embeddings=2048,
        conv_L_cache=shape.kernel,
        block_auto_adjust_ff_dim=False,
        layer_types=["conv" if letter == "c" else "full_attention" for letter in shape.layers],
        initializer_range=shape.initial_std,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=None,
    )
    torch.manual_seed(seed)
    return Lfm2ForCausalLM(config)


def make_tokenizer(world: World, engine: SearchEngine, shape: ModelShape, seed: int, topk: int) -> tuple[Any, Inventor]:
    """The tokenizer and the inventor of names, from one split's questions and documents."""
    rng = random.Random(seed)
    requests = [
        SearchRequest(
            query=question.question,
            question=question,
            quality="useful",
            noise_probability=0.0,
            seed=rng.getrandbits(53),
            topk=topk,
        )
        for question in world.questions
    ]
    documents = [document.text for result in search_blocking(engine, requests) for document in result.documents]
    texts = [question.question for question in world.questions] + documents
    names = {name for fact in world.facts.values() for name in (fact.entity.in_sentence, fact.answer_in_sentence)}
    extra = {MISSING, UNKNOWN, "is", "of", *" ".join(PHRASES.values()).split()}
    words = template_words(texts, names) | extra
    tokenizer = build_tokenizer(words, names, vocabulary_size=shape.vocabulary_size)
    held_out = {
        name
        for other in load_atlas().worlds.values()
        if other.split != world.split
        for entity in other.entities.values()
        for name in (entity.name, *entity.aliases)
    }
    return tokenizer, Inventor(names, words, tokenizer, held_out)


class _Examples:
    """Demonstrations as token ids, in batches alike in length."""

    def __init__(self, policy: Policy, draw: Callable[[], Demonstration], batch_size: int, rng: random.Random) -> None:
        self._policy = policy
        self._draw = draw
        self._batch_size = batch_size
        self._rng = rng
        self._going_on = policy.codec.encode(f"{END_OF_THOUGHT}<search>")

    def encode(self, demonstration: Demonstration) -> tuple[list[int], list[bool]]:
        """Ids, and for each whether it is to be imitated."""
        ids: list[int] = []
        mask: list[bool] = []
        for text, said in demonstration.parts:
            piece = self._policy.codec.encode(text)
            # A choice is the token after a thought; in practice it is not shown which to make.
            ids += piece
            mask += [
                said and not (demonstration.practice and at > 0 and piece[at - 1 : at + 1] == self._going_on)
                for at in range(len(piece))
            ]
        return ids, mask

    def __iter__(self) -> Iterator[TokenBatch]:
        size = self._batch_size
        while True:
            drawn = sorted((self.encode(self._draw()) for _ in range(size * 8)), key=lambda row: len(row[0]))
            batches = [drawn[start : start + size] for start in range(0, len(drawn), size)]
            self._rng.shuffle(batches)
            yield from map(pad, batches)


def pad(rows: Sequence[tuple[list[int], list[bool]]]) -> TokenBatch:
    """Lay (ids, mask) rows side by side, padded on the right."""
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.zeros((len(rows), longest), dtype=torch.long)
    mask = torch.zeros((len(rows), longest), dtype=torch.bool)
    for row, (row_ids, row_mask) in enumerate(rows):
        ids[row, : len(row_ids)] = torch.tensor(row_ids)
        mask[row, : len(row_ids)] = torch.tensor(row_mask)
    mask[:, 0] = False
    return TokenBatch(ids, mask, torch.zeros(ids.shape))


@torch.no_grad()
def copy_accuracy(
    policy: Policy, demonstrator: Demonstrator, world: World, *, num: int = 300, seed: int = 5
) -> dict[str, float]:
    """How often a whole action is predicted right, each token from the true ones before it, choices left out.

    This caps what reinforcement learning can reach: a policy that can't copy a name can't answer with it.

    Args:
        policy: The policy.
        demonstrator: Plays the split's questions.
        world: The split.
        num: Questions, half of them with two hops.
        seed: Seed of the draws.

    Returns:
        The share of right actions by kind: "query" (the first), "next query" (of a second hop), "answer", "missing"
        (said where it is so).
    """
    rng = random.Random(seed)
    by_hops: dict[int, list[Any]] = {1: [], 2: []}
    for question in world.questions:
        by_hops[question.metadata["hops"]].append(question)
    questions = by_hops[1][: num // 2] + by_hops[2][: num // 2]
    end_of_thought = policy.tokenizer.convert_tokens_to_ids(END_OF_THOUGHT)
    hits: dict[str, list[bool]] = {}
    for question in questions:
        shown = demonstrator.play(question, rng, practice=True)
        encoded = [(policy.codec.encode(text), text, said) for text, said in shown.parts]
        ids = [token for piece, _, _ in encoded for token in piece]
        predicted = policy.model(input_ids=torch.tensor([ids])).logits[0].argmax(-1).tolist()
        start = 0
        for piece, text, said in encoded:
            if said:
                right = all(
                    predicted[start + at - 1] == token
                    for at, token in enumerate(piece)
                    if not (at and piece[at - 1] == end_of_thought)
                )
                hits.setdefault(_kind(text), []).append(right)
            start += len(piece)
    return {kind: sum(right) / len(right) for kind, right in sorted(hits.items())}


def _kind(action: str) -> str:
    if "<think>" not in action:
        return "query"
    if f" is {MISSING}<" in action:
        return "missing"
    return "next query" if "<search>" in action else "answer"


def warm_start(
    settings: WarmStartSettings,
    folder: Path,
    *,
    report: Callable[[dict[str, Any]], None] = lambda row: None,
    report_every: int = 1000,
    num_judged: int = 600,
) -> Policy:
    """Make the small policy and save it, in Hugging Face format, with `warmstart.json` beside it.

    Args:
        settings: How.
        folder: Where to; replaced if it exists.
        report: Is given a row every `report_every` steps: `step`, `loss`, `seconds`, and copy accuracies on the
            validation split (which is looked at, never learned from).
        report_every: Steps between reports.
        num_judged: Validation questions that copy accuracies are of.

    Returns:
        The policy.
    """
    engine = make_engine("template")
    atlas = load_atlas()
    train, validation = atlas.world("train"), atlas.world("validation")
    tokenizer, inventor = make_tokenizer(train, engine, settings.model, settings.seed, settings.topk)
    policy = Policy(make_model(settings.model, len(tokenizer), settings.seed), tokenizer)
    episode = EpisodeSettings(max_turns=settings.max_turns, topk=settings.topk, prompt="short")
    demonstrator = Demonstrator(train, engine, settings.demonstrations, episode)
    judge = Demonstrator(validation, engine, settings.demonstrations, episode)
    rng = random.Random(settings.seed + 1)
    optimizer = _make_optimizer(policy.model, settings)
    losses: list[float] = []
    start = time.perf_counter()
    examples = _Examples(policy, lambda: demonstrator.draw(rng, inventor), settings.batch_size, rng)
    for step, batch in zip(range(1, settings.num_steps + 1), examples, strict=False):
        losses.append(_step(policy, optimizer, batch, _learning_rate(step, settings), settings.max_grad_norm))
        if step % report_every == 0 or step == settings.num_steps:
            row = {"step": step, "loss": sum(losses) / len(losses), "seconds": time.perf_counter() - start}
            report({**row, **copy_accuracy(policy, judge, validation, num=num_judged // 2)})
            losses.clear()
    _save(policy, settings, folder, copy_accuracy(policy, judge, validation, num=num_judged))
    return policy


def _make_optimizer(model: Any, settings: WarmStartSettings) -> torch.optim.Optimizer:
    parameters = list(model.parameters())
    groups = [
        {"params": [one for one in parameters if one.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [one for one in parameters if one.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98), fused=True)


def _learning_rate(step: int, settings: WarmStartSettings) -> float:
    rise = min(1.0, step / settings.warmup_steps)
    fall = 0.5 + 0.5 * math.cos(math.pi * step / settings.num_steps)
    return settings.learning_rate * rise * max(fall, 0.01)


def _step(
    policy: Policy, optimizer: torch.optim.Optimizer, batch: TokenBatch, learning_rate: float, max_grad_norm: float
) -> float:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    loss: Tensor = -policy.token_logprobs(batch).logprobs.mean()
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(policy.model.parameters(), max_grad_norm)
    optimizer.step()
    return float(loss.detach())


def _save(policy: Policy, settings: WarmStartSettings, folder: Path, accuracy: dict[str, float]) -> None:
    record = {
        "schema": "zerosearch.warmstart/1",
        "settings": asdict(settings),
        "questions": {split: load_atlas().world(split).questions.fingerprint for split in ("train", "validation")},
        "copy_accuracy_validation": accuracy,
        "fingerprints": policy.fingerprints(),
        "parameters": sum(one.numel() for one in policy.model.parameters()),
    }

    def write(temporary: Path) -> None:
        policy.model.save_pretrained(temporary)
        policy.tokenizer.save_pretrained(temporary)
        (temporary / "warmstart.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")

    write_folder(folder, write)
