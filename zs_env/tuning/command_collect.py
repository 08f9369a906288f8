"""`python -m zs_env tune collect`: let a policy search a real engine, and keep what comes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zs_env.command_options import add_search_option, lay_options, search_option
from zs_env.engines import SEARCH_MODES
from zs_env.engines.llm.client import ClientSettings
from zs_env.engines.llm.inprocess import InProcessSettings, is_in_process
from zs_env.errors import ConfigError
from zs_env.files import write_json
from zs_env.options import EpisodeMaker
from zs_env.tuning.collecting import Collected, CollectSettings, collect
from zs_env.tuning.policies import BUILT_IN, Policy, make_policy

__all__ = ["SIMULATORS", "add_parser", "model_settings", "run"]

SIMULATORS = frozenset(("template", "simulate_prompt", "simulate_sft", "hostile", "hybrid"))
"""Search modes whose documents are made up, wholly or in part."""


def add_parser(commands: Any) -> None:
    """Add the command to a parser's sub-commands."""
    parser = commands.add_parser(
        "collect",
        help="let a policy search a real engine, and keep what comes",
        description="Play episodes against a search engine, and keep each search with its documents. A run that was "
        "stopped goes on; so does one with a larger --limit or more --attempts.",
    )
    add = parser.add_argument
    add("--questions", required=True, metavar="SOURCE", help="atlas, a file, or hf:<id>")
    add("--split", help="of the questions (of the atlas: train)")
    add("--limit", type=int, metavar="N", help="so many questions, drawn by the seed (all)")
    add("--hops", type=int, metavar="N", help="searches that a question takes (what the source says)")
    add("--engine", required=True, metavar="MODE", help=f"search mode: {', '.join(SEARCH_MODES)}")
    add_search_option(add)
    add(
        "--search-around",
        action="append",
        default=[],
        type=search_option,
        metavar="NAME=VALUE",
        help="what is put around the engine, such as record=FILE, replay=FILE, tries=3 or budget.requests=1000; may be "
        "given several times",
    )
    add("--allow-simulator", action="store_true", help="collect from an engine that makes its documents up")
    add("--policy", metavar="NAME", help=f"{', '.join(BUILT_IN)}, module:function or path.py:function (first-hop)")
    add("--policy-url", metavar="URL", help="a model's server as the policy instead: any that speaks OpenAI's protocol")
    add("--policy-model", metavar="NAME", help="that model; smollm2 or a .gguf file without --policy-url runs here")
    add("--policy-key-env", metavar="NAME", help="the environment variable with that server's key")
    add("--attempts", type=int, default=1, metavar="N", help="episodes a question, for policies that draw (1)")
    add("--temperature", type=float, default=1.0, metavar="T", help="of the policy's model (1.0)")
    add("--max-tokens", type=int, default=500, metavar="N", help="of one of its actions (500)")
    add("--prompt", default="default", metavar="NAME", help="default, short, upstream, or a text with {question}")
    add("--topk", type=int, default=5, metavar="N", help="documents a search (5)")
    add("--max-turns", type=int, default=5, metavar="N", help="actions an episode, an answer included (5)")
    add("--max-information-chars", type=int, default=20_000, metavar="N", help="of one search's documents, as shown")
    add("--seed", type=int, default=0, help="of the draw of questions, and of what policies draw (0)")
    add("--concurrency", type=int, default=8, metavar="N", help="episodes at the same time (8)")
    add("--max-failures", type=float, default=0.25, metavar="SHARE", help="of failed episodes ends the run (0.25)")
    add("--out", type=Path, required=True, metavar="FILE", help="the file of searches, as DIR/collected.jsonl")
    add("--json", type=Path, metavar="FILE", help="write settings and counts here")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Collect, and say what came; 130 if stopped, 1 if an episode failed, else 0."""
    _refuse_simulator(options, options.engine)
    maker = EpisodeMaker(
        questions=options.questions,
        split=options.split,
        search_mode=options.engine,
        search_options=lay_options({}, options.search_option or {}),
        search_around=lay_options({}, dict(options.search_around)),
        topk=options.topk,
        max_turns=options.max_turns,
        prompt=options.prompt,
        max_information_chars=options.max_information_chars,
    )
    _refuse_simulator(options, maker.engine.name)
    settings = CollectSettings(
        episode=maker.settings,
        limit=options.limit,
        attempts=options.attempts,
        hops=options.hops,
        seed=options.seed,
        concurrency=options.concurrency,
        max_failures=options.max_failures,
    )
    policy = _policy(options)
    try:
        collected = collect(
            maker.questions,
            maker.engine,
            policy,
            options.out,
            settings,
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )
    except KeyboardInterrupt:
        print("stopped: what was played is kept, and the same command goes on with it", file=sys.stderr)
        return 130
    if options.json is not None:
        write_json(options.json, {"settings": dict(collected.header), "counts": collected.summary()})
    print(describe(collected))
    return int(bool(collected.failures))


def _refuse_simulator(options: argparse.Namespace, engine: str) -> None:
    if engine in SIMULATORS and not options.allow_simulator:
        raise ConfigError(
            f"The search engine {engine!r} makes its documents up, and a simulator is to learn from real ones: take "
            "bm25, dense, wiki or google; or say --allow-simulator."
        )


def _policy(options: argparse.Namespace) -> Policy:
    if options.policy_url is None and options.policy_model is None:
        return make_policy(options.policy or "first-hop")
    if options.policy is not None:
        raise ConfigError(
            f"Give either --policy (got {options.policy!r}) or a model as --policy-url and --policy-model, not both."
        )
    from zs_env.engines.llm.backend import make_backend
    from zs_env.tuning.policy_model import ModelPolicy

    reached = model_settings(options.policy_url, options.policy_model, options.policy_key_env, "--policy")
    return ModelPolicy(
        backend=make_backend(reached),
        name=reached.model or "served",
        temperature=options.temperature,
        max_tokens=options.max_tokens,
    )


def model_settings(
    url: str | None, model: str | None, key_env: str | None, flag: str
) -> ClientSettings | InProcessSettings:
    """How a model is reached that plays a part in a step: on a server, or in this process.

    Args:
        url: Its server, if it has one.
        model: Its name.
        key_env: The environment variable that holds the server's key.
        flag: What the flags begin with, for errors.

    Raises:
        ConfigError: There is neither a server nor a model that can be loaded here.
    """
    if url is not None:
        return ClientSettings(base_url=url, model=model, api_key_env=key_env)
    if not is_in_process(model):
        raise ConfigError(
            f"{flag}-model {model!r} needs {flag}-url, the address of its server; or give 'smollm2' or the path of a "
            ".gguf file, which run in this process."
        )
    assert model is not None
    return InProcessSettings(simulation_llm=model, context_tokens=4096)


def describe(collected: Collected) -> str:
    """The counts, for people."""
    counts: Mapping[str, Any] = collected.summary()
    lines = [
        f"{counts['num_episodes']} of {counts['num_wanted']} episodes, "
        f"{counts['num_kept']} searches with {counts['num_documents']} documents",
    ]
    if counts["num_empty"]:
        lines.append(f"{counts['num_empty']} searches found nothing, and aren't kept")
    if counts["num_right"] + counts["num_wrong"]:
        lines.append(f"{counts['num_right']} episodes with a right answer, {counts['num_wrong']} without")
    if counts["num_invalid"]:
        lines.append(f"{counts['num_invalid']} actions were invalid")
    if counts["cost"]:
        lines.append(f"searches cost {counts['cost']:g}")
    if counts["num_failed"]:
        lines.append(f"{counts['num_failed']} episodes failed, and are played again by the same command:")
        lines += [f"  {count} x {error}" for error, count in list(counts["failures"].items())[:5]]
    return "\n".join(lines)
