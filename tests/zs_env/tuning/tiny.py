"""A model that takes a millisecond, with a chat template, and examples for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from zs_env.engines.llm.prompts import PromptWriter, load_prompts
from zs_env.tuning.records import EXAMPLES, Example
from zs_env.types import Question, SearchRequest

TEMPLATE = (
    "{% for message in messages %}<|start|>{{ message['role'] }}\n{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
SHAPES = ("llama", "lfm2")


def tokenizer() -> Any:
    """A token a byte, and the marks of turns."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={char: index for index, char in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    made: Any = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end|>", pad_token="<|end|>")
    made.add_tokens([AddedToken("<|start|>", special=True)], special_tokens=True)
    made.chat_template = TEMPLATE
    return made


def model(shape: str = "llama", *, seed: int = 0) -> Any:
    """Two or three layers with random weights."""
    import torch
    from transformers import Lfm2Config, Lfm2ForCausalLM, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    common: dict[str, Any] = {
        "vocab_size": 264,
        "hidden_size": 32,
        "intermediate_size": 48,
        "max_position_embeddings": 4096,
        "initializer_range": 0.1,
        "bos_token_id": None,
        "eos_token_id": 256,
        "pad_token_id": 256,
    }
    if shape == "llama":
        return LlamaForCausalLM(
            LlamaConfig(num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, **common)
        )
    layers = ["conv", "full_attention"]
    return Lfm2ForCausalLM(
        Lfm2Config(
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            conv_L_cache=3,
            block_auto_adjust_ff_dim=False,
            layer_types=layers,
            **common,
        )
    )


def write_model(folder: Path, shape: str = "llama", *, seed: int = 0) -> Path:
    """A Hugging Face folder."""
    model(shape, seed=seed).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def example(number: int) -> Example:
    """One of many, long and short, useful and noisy in turn."""
    quality = "useful" if number % 2 else "noisy"
    question = Question(id=f"q{number}", question=f"Who wrote book {number}?", golden_answers=(f"Author {number}",))
    request = SearchRequest(
        query=f"book {number}", question=question, quality=quality, noise_probability=0.0, seed=0, topk=1
    )  # type: ignore[arg-type]
    writer = PromptWriter(mode="sft", prompts={"sft_useful": "Useful {query}", "sft_noisy": "Noisy {query}"})
    text = f"Doc 1: {'Author' if quality == 'useful' else 'Nobody'} {number} wrote it{' all' * (number % 5)}."
    return Example(
        prompt=({"role": "system", "content": ""}, *writer.write(request, count=1, gives_answer=True)),
        completion=({"role": "assistant", "content": text},),
        quality=quality,  # type: ignore[arg-type]
        question=question,
        query=request.query,
        num_documents=1,
    )


def write_examples(folder: Path, num: int = 24, held_out: int = 6) -> Path:
    """A folder as `tune build` writes it."""
    folder.mkdir(parents=True)
    for part, numbers in (("train", range(num)), ("held_out", range(1000, 1000 + held_out))):
        lines = [{"schema": EXAMPLES}, *(example(number).to_json() for number in numbers)]
        (folder / f"{part}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    told = {"persona": "Wikipedia", "document_words": 20, "topk": 1, "prompts": dict(load_prompts("sft"))}
    (folder / "build.json").write_text(json.dumps(told), encoding="utf-8")
    return folder
