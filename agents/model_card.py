"""The model card of an exported policy: what is known of it, and how to use it with `transformers` alone."""

from __future__ import annotations

from collections.abc import Mapping
from string import Template
from typing import Any

from agents.codec import TextCodec
from agents.report import comparison_table
from zs_env.actions import STOP_STRINGS
from zs_env.prompts import CORRECTION, get_prompt

__all__ = ["model_card", "usage_snippet"]

_CARD = Template(
    """---
library_name: $library
pipeline_tag: text-generation
$base_model
tags: [zerosearch, search-agent, reinforcement-learning]
---
# A language model that searches

It answers questions with a search engine: it writes `<think>…</think>`, then `<search>query</search>` or
`<answer>…</answer>`; documents come back to it between `<information>` and `</information>`.

## What it is

$facts

## How to use it

This needs `pip install $packages` and nothing else. Here you play the search engine yourself; put a real one
into `search`.

```python
$snippet
```
$measured"""
)

_SNIPPET = Template(
    r'''import re

import torch
${imports}from transformers import AutoModelForCausalLM, AutoTokenizer

MODEL = "."  # this folder, or where you put it
${below}PROMPT = $prompt
CORRECTION = $correction
ACTION = re.compile(r"(?s)<(search|answer)>\s*(?!\s)((?:(?!</?(?:think|search|answer|information)>).)+?)\s*</\1>")

tokenizer = AutoTokenizer.from_pretrained(MODEL)
model = $model


def search(query):
    """A search engine made of you: type what is found, a document a line, and an empty line at the end."""
    print(f"Searching for: {query}")
    return list(iter(input, ""))


def encode(text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def escape(text):
    return text.replace("<", "&lt;")  # no text from elsewhere may open or close a tag


def answer(question, search=search, max_turns=$max_turns):
    ids = encode($before) + encode(PROMPT.replace("{question}", escape(question))) + encode($after)
    for _ in range(max_turns):
        read = torch.tensor([ids], device=model.device)
        written = model.generate(
            read,
            attention_mask=torch.ones_like(read),
            max_new_tokens=$max_new_tokens,
            do_sample=False,
            stop_strings=$stop_strings,
            tokenizer=tokenizer,
        )[0].tolist()
        said = tokenizer.decode(written[len(ids) :])
        ids = written
        action = ACTION.search(re.sub(r"(?s)<think>.*?(</think>|$$)", "<think>", said))
        if action is None:
            ids = ids + encode(CORRECTION)
        elif action[1] == "answer":
            return action[2]
        else:
            found = [" ".join(text.split()) for text in search(action[2])]
            lines = [f"Doc {number}: {escape(text)}\n" for number, text in enumerate(found, start=1)]
            lines = lines or ["No documents were found.\n"]
            ids = ids + encode("\n<information>\n" + "".join(lines) + "</information>\n")
    return None


if __name__ == "__main__":
    print("Answer:", answer("What is the capital of Kenya?"))'''
)


def usage_snippet(
    codec: TextCodec, notes: Mapping[str, Mapping[str, Any]], prompt: str, *, adapters_of: str | None = None
) -> str:
    """A program that asks the model, by `transformers` alone, much as `agents` would.

    Args:
        codec: The policy's.
        notes: The sections that say how it is played; see `runs.read_checkpoint_settings`.
        prompt: See `EpisodeSettings`.
        adapters_of: Of a folder with adapters alone: what they belong to; None for a whole model.
    """
    model = "AutoModelForCausalLM.from_pretrained(MODEL)"
    if adapters_of is not None:
        model = "PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(BASE), MODEL)"
    before, after = codec.around_first()
    return _SNIPPET.substitute(
        imports="" if adapters_of is None else "from peft import PeftModel\n",
        below="" if adapters_of is None else f"BASE = {adapters_of!r}  # what they belong to: an id, or a folder\n",
        model=model,
        prompt=repr(get_prompt(prompt)),
        correction=repr(CORRECTION),
        before=repr(before),
        after=repr(after),
        stop_strings=repr(list(STOP_STRINGS)),
        max_turns=notes.get("episode", {}).get("max_turns", 5),
        max_new_tokens=notes.get("rollout", {}).get("max_new_tokens", 256),
    )


def model_card(
    *,
    snippet: str,
    facts: Mapping[str, Any],
    base_model: str | None,
    measured: Mapping[str, Any] | None,
    is_adapter: bool = False,
) -> str:
    """The card, in Markdown.

    Args:
        snippet: See `usage_snippet`.
        facts: What is known, name to value; what is None is left out.
        base_model: The hub's id of what training began with; None if it is none.
        measured: The record of the run's `summary.json`, if the weights are those that it measured.
        is_adapter: Whether it is adapters alone.
    """
    known = {name: value for name, value in facts.items() if value is not None}
    return _CARD.substitute(
        library="peft" if is_adapter else "transformers",
        packages="torch transformers peft" if is_adapter else "torch transformers",
        base_model=f"base_model: {base_model}" if base_model else "# the base model is not on the hub",
        facts="\n".join(f"- {name}: {value}" for name, value in known.items()),
        snippet=snippet,
        measured=_measured(measured) if measured else "",
    )


def _measured(summary: Mapping[str, Any]) -> str:
    """Before and after training; nothing if nothing was measured."""
    if not summary["before"]:
        return ""
    dtype = summary.get("settings", {}).get("model", {}).get("dtype", "float32")
    return (
        f"\n## What was measured\n\nBefore and after training, in {dtype}, on questions that were not trained on, with "
        "the search engine of training; intervals of 95 %.\n\n```text\n"
        f"{comparison_table(summary['before'], summary['after'])}\n```\n"
    )
