"""`python -m zs_env tune quantise`: a tuned simulator as a GGUF file, or in FP8 or 4 bits for GPUs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from zs_env.files import write_json
from zs_env.tuning.gguf_kinds import KINDS
from zs_env.tuning.quantising import GPU_FORMATS, QuantiseSettings, quantise

__all__ = ["add_parser", "run"]


def add_parser(commands: Any) -> None:
    """Add `quantise` to the steps of `python -m zs_env tune`."""
    parser = commands.add_parser(
        "quantise",
        help="make a simulator smaller: GGUF for llama.cpp, FP8, GPTQ or AWQ for GPUs",
        description="Make a simulator smaller. GGUF files are written here, and served by `serve llamacpp` or in this "
        "process. FP8, GPTQ and AWQ are made by llm-compressor, on a CPU or a GPU, and served by sglang and vLLM.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    settings = QuantiseSettings(to="fp8")
    add("--model", required=True, metavar="DIR", help="the model's folder; for gguf also a .gguf file of f16 or bf16")
    kinds = ", ".join(KINDS)
    add("--to", required=True, metavar="FORMAT", help=f"gguf:KIND ({kinds}), {', '.join(GPU_FORMATS)}")
    add("--out", required=True, type=Path, help="the .gguf file, or the folder, to write")
    add("--data", metavar="FILE", help="of gptq and awq: examples to calibrate on, such as sft/train.jsonl")
    add("--samples", type=int, default=settings.samples, help="how many of them")
    add("--max-tokens", type=int, default=settings.max_tokens, help="the longest of them")
    add("--group-size", type=int, help="of gptq and awq: columns that share a scale, 128, 64 or 32")
    add("--python", default=settings.python, metavar="PATH", help="the Python that has llmcompressor")
    add("--converter", metavar="FILE", help="llama.cpp's convert_hf_to_gguf.py, for models that aren't written here")
    add("--json", type=Path, metavar="FILE", help="write what was made here")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Quantise; returns the exit status.

    Raises:
        ZeroSearchError: It can't be done; the message says why, and the way out.
    """
    names = ("to", "data", "samples", "max_tokens", "group_size", "python", "converter")
    settings = QuantiseSettings(**{name: getattr(options, name) for name in names})
    try:
        made = quantise(options.model, options.out, settings, say=lambda line: print(line, file=sys.stderr, flush=True))
    except KeyboardInterrupt:
        print("stopped: nothing was written; the same command begins anew", file=sys.stderr)
        return 130
    if options.json is not None:
        write_json(options.json, made)
    before = " (was there already)" if made["done_before"] else ""
    print(f"{options.out}: {made['to']}, {made['bytes'] / 1e6:.1f} MB{before}")
    return 0
