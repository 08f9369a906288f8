"""llm-compressor in a process of its own: a model's folder to one in FP8 or 4 bits, in the format compressed-tensors.

`python compressing_program.py --model DIR --out DIR --scheme fp8|gptq|awq …`, a program that needs nothing but
llmcompressor, so that it runs with any Python that has that: its releases want other releases of transformers than
training does. Its last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

__all__: list[str] = []


def main() -> None:
    """Quantise, and save."""
    parser = argparse.ArgumentParser(description="Quantise a model for vLLM and sglang.")
    add = parser.add_argument
    add("--model", required=True, help="a folder in Hugging Face's format")
    add("--out", required=True, help="the folder to write")
    add("--scheme", required=True, choices=("fp8", "gptq", "awq"), help="fp8 takes no data; the others calibrate")
    add("--data", help="JSON lines with prompt and completion, each a list of messages")
    add("--samples", type=int, default=128, help="how many of them to calibrate on")
    add("--max-tokens", type=int, default=1024, help="the longest of them; the rest is cut off")
    add("--group-size", type=int, default=128, help="columns that share a scale, of gptq and awq")
    options = parser.parse_args()
    if sys.path and os.path.realpath(sys.path[0]) == os.path.dirname(os.path.realpath(__file__)):
        del sys.path[0]  # the modules beside this file are no top-level modules
    from llmcompressor import oneshot
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype="auto")
    given: dict[str, Any] = {}
    if options.scheme != "fp8":
        data = _calibration(options, tokenizer)
        given = {"dataset": data, "max_seq_length": options.max_tokens, "num_calibration_samples": len(data)}
    oneshot(model=model, recipe=_recipe(options), processor=tokenizer, **given)
    model.save_pretrained(options.out, save_compressed=True)
    import compressed_tensors
    import llmcompressor
    import torch
    import transformers

    packages = (llmcompressor, compressed_tensors, transformers, torch)
    versions = {each.__name__: str(each.__version__) for each in packages}
    sys.stdout.write(json.dumps(versions) + "\n")


def _recipe(options: argparse.Namespace) -> Any:
    if options.scheme == "fp8":
        from llmcompressor.modifiers.quantization import QuantizationModifier

        return QuantizationModifier(targets="Linear", scheme="FP8_DYNAMIC", ignore=["lm_head"])
    groups = _groups(options.group_size)
    if options.scheme == "gptq":
        from llmcompressor.modifiers.gptq import GPTQModifier

        return GPTQModifier(config_groups=groups, ignore=["lm_head"])
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier

    _pin_nothing_on_a_cpu()
    return [AWQModifier(), QuantizationModifier(config_groups=groups, ignore=["lm_head"])]


def _pin_nothing_on_a_cpu() -> None:
    """Let AWQ run without a GPU: its search pins memory for copies to one, which torch refuses where there is none."""
    import torch
    from llmcompressor.pipelines.cache import IntermediatesCache

    if not torch.accelerator.is_available():
        IntermediatesCache.pin_memory = lambda *_, **__: None


def _groups(size: int) -> dict[str, Any]:
    weights = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": size}
    return {"group_0": {"targets": ["Linear"], "weights": weights}}


def _calibration(options: argparse.Namespace, tokenizer: Any) -> Any:
    """What the simulator was trained on, as it will be asked and as it is to answer."""
    from datasets import Dataset

    rows = []
    with open(options.data, encoding="utf-8") as file:
        for line in file:
            row = json.loads(line) if line.strip() else {}
            if "prompt" not in row or "completion" not in row:
                continue  # the header
            messages = [*row["prompt"], *row["completion"]]
            text = tokenizer.apply_chat_template(messages, tokenize=False)
            ids = tokenizer(text, add_special_tokens=False, truncation=True, max_length=options.max_tokens)
            rows.append({"input_ids": ids["input_ids"], "attention_mask": ids["attention_mask"]})
            if len(rows) == options.samples:
                break
    if not rows:
        raise SystemExit(f"{options.data} holds no prompts with completions")
    return Dataset.from_list(rows)


if __name__ == "__main__":
    main()
