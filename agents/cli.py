"""The command line, `python -m agents train | eval | ask | …`: flags to settings, nothing ignored in silence.

torch and transformers are imported by the commands that need them, so that `--help` is quick.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from agents import export
from agents.flags import FLAGS, PLAYING_FLAGS, add_playing_flags, add_train_flags, origin_of, sections_of
from agents.plan import command as plan
from agents.players import add_player_flags, check_player_flags
from agents.report_html import command as report
from agents.tune import command as sweep
from agents.warmstart import command as warmstart
from zs_env.curriculum import check_probability, check_whole
from zs_env.errors import ConfigError, ZeroSearchError

__all__ = ["main", "parser", "sections_of"]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="python -m agents", description="Language-model policies that learn to search.", allow_abbrev=False
    )
    # Each command sets `run`, what `main` calls with the parsed flags.
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="train a policy and measure it before and after", allow_abbrev=False)
    add_train_flags(train)
    train.set_defaults(run=_train)

    evaluate = commands.add_parser("eval", help="measure a policy", allow_abbrev=False)
    add = evaluate.add_argument
    add_playing_flags(
        evaluate, model_help="the policy: a folder in Hugging Face format, a run's folder, or an id of the hub (needed)"
    )
    add_player_flags(evaluate)
    add("--questions", metavar="SOURCE", default="atlas", help="atlas, a file, or hf:<id> (atlas)")
    add("--split", metavar="NAME", help="the split (test, of atlas)")
    add("--limit", type=int, metavar="N", help="a fixed sample of this many questions (all)")
    add(
        "--noise-probability",
        type=float,
        action="append",
        metavar="P",
        help="chance of noisy documents; may be given again (0 and 0.5)",
    )
    add("--no-sampled", action="store_true", help="play greedily alone")
    add("--json", type=Path, metavar="FILE", help="write the record there")
    evaluate.set_defaults(run=_evaluate)

    ask = commands.add_parser("ask", help="watch a policy answer one question", allow_abbrev=False)
    add = ask.add_argument
    add("question", help="a question of the atlas, or any other together with --golden")
    add_playing_flags(
        ask, model_help="the policy: a folder in Hugging Face format, a run's folder, or an id of the hub"
    )
    add_player_flags(ask)
    add(
        "--script",
        action="append",
        metavar="TEXT",
        help="instead of a model: what to say, an action at a time; may be given again",
    )
    add("--golden", action="append", metavar="TEXT", help="an accepted answer; may be given again")
    add("--noise-probability", type=float, default=0.0, metavar="P", help="chance of noisy documents (0)")
    add("--sample", action="store_true", help="draw tokens instead of taking the likeliest")
    add("--json", type=Path, metavar="FILE", help="write the trajectory there")
    ask.set_defaults(run=_ask)
    warmstart.add_parser(commands)
    export.add_parser(commands)
    report.add_parser(commands)
    sweep.add_parser(commands)
    plan.add_parser(commands)
    return top


def _say(line: str, stream: TextIO | None = None) -> None:
    (stream or sys.stdout).write(line + "\n")


def _tell(line: str) -> None:
    _say(line, sys.stderr)


def _quiet_transformers() -> None:
    """Keep transformers from telling how it loads a model, which a newcomer takes for something wrong."""
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def _train(options: argparse.Namespace) -> None:
    from agents.config import load_config
    from agents.devices import resolve_device
    from agents.report import comparison_table, events_line
    from agents.resume import resumed_sections
    from agents.runs import RunFolder, write_json
    from agents.train import train

    _quiet_transformers()
    sections, origin = sections_of(options, say=_tell), origin_of(options)
    name = options.run_name or (options.config and options.config.stem) or options.preset
    if options.resume:
        if not name:
            raise ConfigError("--resume needs --run-name: which run is to go on?")
        run = RunFolder(name, root=options.runs, overwrite=options.overwrite, resume=True)
        sections, origin = resumed_sections(run, sections), f"{run.path / 'config.json'}, and what is given over it"
    config = load_config(sections, origin=origin)
    if not options.resume:
        run = RunFolder(name or config.run.algorithm, root=options.runs, overwrite=options.overwrite)
    if config.run.executor == "local":
        resolve_device(config.run.device)  # a GPU that isn't there is told before anything is loaded
    summary = train(config, run, say=_tell)
    if options.json:
        write_json(options.json, summary)
    _say(comparison_table(summary["before"], summary["after"]))
    seconds, episodes = summary["seconds"], summary.get("episodes", {})
    if episodes.get("num_failed"):
        _say(
            f"\n{episodes['num_failed']} of {episodes['num_played']} training episodes failed for reasons that aren't "
            "the policy's; nothing was learned from them."
        )
    if lost := events_line(summary.get("events", [])):
        _say(f"\n{lost} See {run.path / 'events.jsonl'}.")
    _say(
        f"\nRollout {seconds['rollout']:.0f} s, update {seconds['update']:.0f} s, everything {seconds['total']:.0f} s. "
        f"All of it is in {run.path}. Try\n\n"
        f'  python -m agents ask "What is the capital of Kenya?" --model {run.checkpoint}'
    )


def _settings_for_playing(options: argparse.Namespace) -> Any:
    """The sections that `eval` and `ask` share with training, from their flags and the checkpoint's own run."""
    from agents.config import ModelConfig, load_config
    from agents.config_files import merge_search
    from agents.runs import read_checkpoint_settings

    _quiet_transformers()
    sections: dict[str, dict[str, Any]] = {}
    if options.model and options.sampler != "openai":
        sections = read_checkpoint_settings(Path(ModelConfig(source=options.model).path))
    given: dict[str, dict[str, Any]] = {}
    for flag in PLAYING_FLAGS:
        value = getattr(options, flag)
        if value is not None:
            section, key = FLAGS[flag]
            given.setdefault(section, {})[key] = value
    for name, values in given.items():
        under = sections.get(name, {})
        sections[name] = merge_search(under, values) if name == "search" else under | values
    nameless = "server" if options.sampler == "openai" else "scripted"
    sections["model"] = sections.get("model", {}) | {"source": options.model or nameless}
    config = load_config(sections, origin="flags or the checkpoint's settings")
    if config.run.threads:
        import torch

        torch.set_num_threads(config.run.threads)
    return config


def _evaluate(options: argparse.Namespace) -> None:
    import time

    from agents.evaluate import evaluate_samplers, pick_questions
    from agents.players import load_player
    from agents.report import measure_table
    from agents.runs import describe_machine, write_json
    from zs_env.questions import QuestionList, load_questions

    if options.model is None and options.sampler != "openai":
        raise ConfigError("eval needs --model: a folder in Hugging Face format, or an id of the hub.")
    config = _settings_for_playing(options)
    split = "test" if options.split is None and options.questions == "atlas" else options.split
    source = load_questions(options.questions, split)
    questions = pick_questions(source, options.limit)
    engine, seed = config.search.make_engine(), config.run.seed
    player = load_player(options, config, _tell)
    config = player.config
    began = time.perf_counter()
    records = {
        f"noise_{noise:g}": evaluate_samplers(
            [player.greedy] if options.no_sampled else [player.greedy, player.drawing],
            player.codec,
            questions,
            engine=engine,
            episode_settings=config.episode.settings(config.search.topk),
            rollout_settings=player.rollout,
            noise_probability=noise,
            seed=seed,
        )
        for noise in (options.noise_probability or (0.0, 0.5))
    }
    _say(measure_table(records))
    if options.json:
        picked = QuestionList(questions, name=source.name, split=source.split)
        record = {
            "schema": "zerosearch.evaluation/1",
            "seed": seed,
            "seconds": time.perf_counter() - began,
            "results": records,
            "questions": {"source": source.name, "split": source.split, "n": len(questions)},
            "settings": {
                "model": player.record(),
                **{name: config.record()[name] for name in ("search", "episode", "rollout")},
            },
            "fingerprints": {"questions": picked.fingerprint, **player.fingerprints},
            "machine": describe_machine(),
        }
        write_json(options.json, record)
    player.close()


def _ask(options: argparse.Namespace) -> None:
    from agents.ask import answer, find_question
    from agents.codec import TextCodec
    from agents.players import load_player
    from agents.runs import write_json
    from agents.samplers import ScriptedSampler

    has_model = options.model is not None or options.sampler == "openai"
    if has_model == (options.script is not None):
        raise ConfigError(
            "ask needs either --model or --script (one --script an action), and not both; --sampler openai is a model."
        )
    if options.script and options.sample:
        raise ConfigError("--sample draws a model's tokens; a --script says what it says.")
    config = _settings_for_playing(options)
    question = find_question(options.question, tuple(options.golden or ()))
    if options.script:
        from agents.testing import byte_tokenizer

        codec: TextCodec = TextCodec(byte_tokenizer())
        sampler: Any = ScriptedSampler(codec, options.script)
        rollout = config.rollout
    else:
        player = load_player(options, config, _tell)
        config, codec, rollout = player.config, player.codec, player.rollout
        sampler = player.drawing if options.sample else player.greedy
    trajectory = answer(
        question,
        sampler=sampler,
        codec=codec,
        engine=config.search.make_engine(),
        episode_settings=config.episode.settings(config.search.topk),
        rollout_settings=rollout,
        noise_probability=options.noise_probability,
        seed=config.run.seed,
    )
    if options.json:
        write_json(options.json, trajectory.to_json())


def _check_before(options: argparse.Namespace) -> None:
    """Refuse what would only fail at the end of a run, or deep inside it."""
    output = getattr(options, "json", None)
    if output is not None and (output.is_dir() or not os.access(output.parent, os.W_OK)):
        raise ConfigError(f"--json {str(output)!r} can't be written: name a file in a folder that exists.")
    noise = getattr(options, "noise_probability", None)
    for probability in noise if isinstance(noise, list) else () if noise is None else (noise,):
        check_probability("--noise-probability", probability)
    if options.command in ("eval", "ask"):
        check_player_flags(options)
    if options.command == "warmstart":
        check_whole("--threads", options.threads, least=1)
    for name in ("seed", "limit"):
        if getattr(options, name, None) is not None:
            check_whole(f"--{name}", getattr(options, name), least=int(name == "limit"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        0; 2 after an error that the user can mend, which is told on standard error; 130 after an interrupt,
        143 after SIGTERM.
    """
    options = parser().parse_args(arguments)
    try:
        _check_before(options)
        options.run(options)
    except ZeroSearchError as error:
        _say(f"error: {error}", stream=sys.stderr)
        return 2
    except OSError as error:
        _say(f"error: {error}", stream=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        _say(f"stopped: {interrupt}" if str(interrupt) else "stopped", stream=sys.stderr)
        return getattr(interrupt, "exit_code", 130)
    return 0
