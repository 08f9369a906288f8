import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from agents.algorithm import TrainingStep
from agents.checkpoints import Checkpoints
from agents.cli import main, parser, sections_of
from agents.config import load_config
from agents.devices import resolve_device
from agents.errors import NonFiniteError, RolloutError, RunExistsError
from agents.evaluate import evaluate_policy
from agents.executors import Executor
from agents.grpo import Grpo
from agents.metrics import METRICS
from agents.policy import Policy, load_policy
from agents.runs import SCHEMA, RunFolder, read_checkpoint_settings
from agents.testing import tiny_lfm2
from agents.train import make_executor, train
from agents.trajectory import read_trajectories
from zs_env.errors import ConfigError

QUESTION = "What is the capital of Senegal?"


@pytest.fixture
def checkpoint(tiny_policy: Policy, tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    tiny_policy.save(folder)
    return folder


def train_flags(checkpoint: Path, tmp_path: Path) -> list[str]:
    return (
        f"train --model {checkpoint} --runs {tmp_path / 'runs'} --run-name first --prompt short --total-steps 2 "
        f"--questions-per-step 2 --group-size 2 --max-new-tokens 8 --max-episode-tokens 500 --max-turns 2 "
        f"--eval-limit 3 --limit 5 --start-threshold 0 --end-threshold 1 --seed 3 --json {tmp_path / 'summary.json'}"
    ).split()


def test_processes_that_were_lost_are_told_at_the_end_in_a_line(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [*train_flags(checkpoint, tmp_path), "--total-steps", "1"]
    assert main(flags) == 0
    assert "events.jsonl" not in capsys.readouterr().out
    path = tmp_path / "runs" / "first" / "summary.json"
    events = [{"step": 0, "kind": "sampler_replaced", "message": "Sampler 1 died"}]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"events": events}))
    # Of a run that is finished, what it came to is told again.
    assert main(["train", "--resume", "--run-name", "first", "--runs", str(tmp_path / "runs")]) == 0
    assert (
        f"Samplers that were lost and replaced: 1. See {path.with_name('events.jsonl')}.\n" in capsys.readouterr().out
    )


def test_a_run_leaves_everything_and_can_be_played_on(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(train_flags(checkpoint, tmp_path)) == 0
    folder = tmp_path / "runs" / "first"
    shown = capsys.readouterr().out
    assert "exact match, greedy" in shown
    assert "before" in shown

    summary = json.loads((folder / "summary.json").read_text())
    assert summary == json.loads((tmp_path / "summary.json").read_text())
    assert set(summary) == {
        "schema",
        "seed",
        "seconds",
        "episodes",
        "before",
        "after",
        "alarms",
        "settings",
        "fingerprints",
        "machine",
        "compute",
    }
    assert (summary["schema"], summary["seed"]) == (SCHEMA, 3)
    assert set(summary["seconds"]) == {"rollout", "update", "total"}
    for when in ("before", "after"):
        assert set(summary[when]) == {"noise_0", "noise_0.5"}
        assert {
            "n",
            "em_greedy",
            "em_greedy_ci",
            "em_sampled",
            "searches_per_episode",
            "search_again_after_noisy",
            "search_again_after_useful",
        } <= set(summary[when]["noise_0"])
    # Nothing of this machine: neither its folders nor its name.
    written = "".join(path.read_text() for path in folder.glob("*.json*"))
    assert str(tmp_path) not in written
    assert sorted(path.name for path in folder.glob("events*"))[0].endswith(".run")

    trajectories = list(read_trajectories(folder / "trajectories.jsonl"))
    assert len(trajectories) == 8
    assert {trajectory.noise_probability for trajectory in trajectories} == {0.0, 1.0}

    logged: dict[str, int] = {}
    for event in EventFileLoader(str(next(folder.glob("events*")))).Load():
        for value in event.summary.value:
            logged[value.tag] = logged.get(value.tag, 0) + 1
    assert {"reward_mean", "exact_match", "rollout_s"} <= set(logged) <= set(METRICS)
    assert logged["reward_mean"] == 2

    # The checkpoint is played with the rules and the prompt of its run, unless flags say otherwise.
    result = tmp_path / "eval.json"
    arguments = f"eval --model {folder / 'checkpoint'} --limit 3 --noise-probability 0 --json {result}".split()
    assert main(arguments) == 0
    evaluated = json.loads(result.read_text())
    assert evaluated["results"]["noise_0"] == summary["after"]["noise_0"]
    assert evaluated["settings"]["episode"]["max_turns"] == 2
    assert summary["fingerprints"]["model"] == load_policy(checkpoint).fingerprints()["model"]
    after = summary["fingerprints"]["model_after"]
    assert load_policy(folder / "checkpoint").fingerprints()["model"] == evaluated["fingerprints"]["model"] == after


def test_a_run_on_files_of_ones_own(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shape of docs/training.md's "Your own run"."""
    monkeypatch.chdir(tmp_path)
    for name, country in (("my", "Norway"), ("my_dev", "Chad")):
        row = {"question": f"What is the capital of {country}?", "golden_answers": ["Oslo"]}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    arguments = (
        f"train --model {checkpoint} --questions my.jsonl --eval-questions my_dev.jsonl --total-steps 1 "
        "--start-threshold 0.25 --end-threshold 0.5 --run-name mine --questions-per-step 1 --group-size 2 "
        "--max-new-tokens 8 --max-turns 2"
    ).split()
    assert main(arguments) == 0
    summary = json.loads((tmp_path / "runs" / "mine" / "summary.json").read_text())
    assert summary["after"]["noise_0"]["n"] == 1
    assert summary["settings"]["questions"]["split"] is None


def test_questions_of_ones_own_leave_a_presets_splits() -> None:
    flags = ["--preset", "quickstart", "--questions", "my.jsonl", "--eval-questions", "dev.jsonl"]
    sections = sections_of(parser().parse_args(["train", *flags]))
    assert "split" not in sections["questions"]
    assert "split" not in sections["evaluation"]
    sections = sections_of(parser().parse_args(["train", *flags, "--split", "a", "--eval-split", "b"]))
    assert (sections["questions"]["split"], sections["evaluation"]["split"]) == ("a", "b")


def test_a_checkpoint_knows_how_it_is_played_wherever_it_lies(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*train_flags(checkpoint, tmp_path), "--total-steps", "0", "--eval-limit", "1"]) == 0
    copy = shutil.copytree(tmp_path / "runs" / "first" / "checkpoint", tmp_path / "elsewhere")
    settings = json.loads((copy / "zerosearch.json").read_text())
    assert settings["schema"] == "zerosearch.checkpoint/1"
    assert str(tmp_path) not in json.dumps(settings)
    settings["model"] = {"dtype": "bfloat16", "chat_template": False}
    (copy / "zerosearch.json").write_text(json.dumps(settings))

    loaded: list[dict[str, Any]] = []

    def load(source: str, **options: Any) -> Policy:
        loaded.append(options)
        return load_policy(source, **options)

    monkeypatch.setattr("agents.assembly.load_policy", load)
    result = tmp_path / "eval.json"
    play = f"eval --model {copy} --limit 1 --noise-probability 0 --json {result}".split()
    assert main(play) == 0
    played = json.loads(result.read_text())["settings"]
    assert (played["episode"]["prompt"], played["episode"]["max_turns"]) == ("short", 2)
    assert played["rollout"]["max_new_tokens"] == 8
    assert main(["ask", QUESTION, "--model", str(copy)]) == 0
    options = {"trust_remote_code": False, "dtype": "bfloat16", "use_chat_template": False, "base": None}
    assert loaded == [options | {"device": resolve_device("auto")}] * 2
    capsys.readouterr()

    (copy / "zerosearch.json").write_text(json.dumps({"schema": "zerosearch.checkpoint/9"}))
    assert main(play) == 2
    assert "'zerosearch.checkpoint/9'" in capsys.readouterr().err
    (copy / "zerosearch.json").write_text("{")
    assert main(play) == 2
    assert "is no JSON" in capsys.readouterr().err


@pytest.mark.parametrize("foreign", [{"episode": {"max_turns": 1}}, [1], {"schema": 5, "rollout": {"x": 1}}])
def test_settings_that_are_not_ours_are_ignored(foreign: Any, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    for file in ("config.json", "model/config.json", "model/zerosearch.json"):
        (tmp_path / file).write_text(json.dumps(foreign))
    assert read_checkpoint_settings(tmp_path / "model") == {}


def short_checkpoint(tokenizer: Any, folder: Path) -> Path:
    model = tiny_lfm2()
    model.config.max_position_embeddings = 700
    Policy(model, tokenizer).save(folder)
    return folder


def test_the_default_budget_is_cut_to_a_short_context(
    tokenizer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = short_checkpoint(tokenizer, tmp_path / "short")
    play = f"--model {model} --prompt short --max-new-tokens 8 --max-turns 1"
    for arguments in (f"eval {play} --limit 1 --noise-probability 0", f"ask Q? --golden A {play}"):
        assert main(arguments.split()) == 0
        assert "max_episode_tokens is 700" in capsys.readouterr().err
        assert main([*arguments.split(), "--max-episode-tokens", "701"]) == 2
        assert "max_episode_tokens=701" in capsys.readouterr().err
    flags = [flag for flag in train_flags(model, tmp_path) if flag not in ("--max-episode-tokens", "500")]
    assert main([*flags, "--total-steps", "0", "--eval-limit", "1"]) == 0
    assert json.loads((tmp_path / "summary.json").read_text())["settings"]["rollout"]["max_episode_tokens"] == 700


def test_settings_are_checked_before_the_first_evaluation(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for wrong, message in (
        (["--start-threshold", "1.5"], "start_threshold must be a number between 0 and 1"),
        (["--end-threshold", "-1"], "end_threshold must be a number between 0 and 1"),
        (["--max-episode-tokens", "5000"], "max_episode_tokens=5000"),
    ):
        assert main([*train_flags(checkpoint, tmp_path), *wrong]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert "Measuring" not in error


@pytest.mark.parametrize("kind", [KeyboardInterrupt, NonFiniteError, RolloutError])
def test_a_run_that_breaks_off_keeps_its_policy(
    kind: type[BaseException],
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = Grpo.step

    def step(self: Grpo, number: int) -> TrainingStep:
        if number == 1:
            raise kind(*(() if kind is KeyboardInterrupt else ("Something went wrong.",)))
        return whole(self, number)

    monkeypatch.setattr(Grpo, "step", step)
    expected = 130 if kind is KeyboardInterrupt else 2
    assert main([*train_flags(checkpoint, tmp_path), "--eval-limit", "1"]) == expected
    folder = tmp_path / "runs" / "first"
    told = capsys.readouterr().err.splitlines()[-1]
    assert "training step 1 (of 2" in told
    assert str(folder / "checkpoint") in told
    assert told.startswith("stopped: " if kind is KeyboardInterrupt else "error: Something went wrong. ")
    load_policy(folder / "checkpoint")


def test_checkpoints_are_saved_as_often_as_asked(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved, whole = [], Checkpoints.save

    def save(self: Checkpoints, policy: Policy, state: Any, **options: Any) -> Path:
        saved.append(state["step"])
        return whole(self, policy, state, **options)

    monkeypatch.setattr(Checkpoints, "save", save)
    assert main([*train_flags(checkpoint, tmp_path), "--eval-limit", "1", "--checkpoint-every", "1"]) == 0
    assert saved == [1, 2]


def test_runs_are_measured_at_temperature_one(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured, whole = [], evaluate_policy

    def evaluate(*given: Any, **options: Any) -> Any:
        measured.append(options.get("temperature", 1.0))
        return whole(*given, **options)

    monkeypatch.setattr("agents.assembly.evaluate_policy", evaluate)
    flags = [*train_flags(checkpoint, tmp_path), "--temperature", "0.5", "--total-steps", "0", "--eval-limit", "1"]
    assert main(flags) == 0
    assert measured == [1.0] * 4


def test_a_run_is_not_overwritten_unless_told(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [*train_flags(checkpoint, tmp_path), "--total-steps", "0", "--eval-limit", "1"]
    assert main(flags) == 0
    before = (tmp_path / "runs" / "first" / "summary.json").read_text()
    assert main(flags) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (tmp_path / "runs" / "first" / "summary.json").read_text() == before
    assert main([*flags, "--overwrite"]) == 0


def test_overwriting_deletes_nothing_before_everything_is_ready(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [*train_flags(checkpoint, tmp_path), "--total-steps", "0", "--eval-limit", "1"]
    assert main(flags) == 0
    folder = tmp_path / "runs" / "first"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    (folder / "own.jsonl").write_text('{"question": "Q?", "golden_answers": ["A"]}\n')
    for wrong, message in (
        (["--model", str(folder / "checkpoint")], "lies in"),
        (["--questions", str(folder / "own.jsonl"), "--eval-questions", "atlas"], "lies in"),
        (["--model", str(tmp_path / "nowhere")], "No model at"),
        (["--split", "tests"], "no split 'tests'"),
        (["--max-episode-tokens", "9000"], "max_episode_tokens=9000"),
    ):
        assert main([*flags, "--overwrite", *wrong]) == 2
        assert message in capsys.readouterr().err
    assert {path: path.read_bytes() for path in before} == before


def test_overwriting_spares_what_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("precious")
    with pytest.raises(RunExistsError, match="isn't a run"):
        RunFolder("thesis", root=tmp_path, overwrite=True)
    with pytest.raises(ConfigError, match=r"letters, digits"):
        RunFolder("../elsewhere", root=tmp_path)
    assert (tmp_path / "thesis" / "chapter1.tex").read_text() == "precious"


def test_ask_shows_every_step(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    script = ["--script", "<think>Hm.</think><search>capital of Senegal</search>", "--script", "<answer>Dakar</answer>"]
    assert main(["ask", QUESTION, *script, "--json", str(tmp_path / "t.json")]) == 0
    shown = capsys.readouterr().out
    for piece in (QUESTION, "Hm.", "capital of Senegal", "is Dakar", "right"):
        assert piece in shown
    assert "\x1b[" not in shown  # no colours where there is no terminal
    assert json.loads((tmp_path / "t.json").read_text())["reward"] == 1.0


def test_ask_takes_other_questions_with_their_answer(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["ask", "Who wrote Emma?", "--script", "<answer>Jane Austen</answer>"]
    assert main(arguments) == 2
    assert "--golden" in capsys.readouterr().err
    assert main([*arguments, "--golden", "Austen", "--golden", "Jane Austen"]) == 0
    assert "right" in capsys.readouterr().out


def test_ask_plays_a_checkpoint(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = f"--model {checkpoint} --max-new-tokens 6 --max-turns 2 --prompt short --seed 1 --sample".split()
    assert main(["ask", "what is the capital of the country where Wajir is located", *flags]) == 0
    assert "Turn 2 of 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train", "No model"),
        ("train --preset quickest", "Unknown preset 'quickest'. Available: quickstart"),
        ("train --model x --algorithm ppo2", "Unknown algorithm 'ppo2'"),
        ("train --model x --start-threshold 0.5", "belong together"),
        ("train --model x --search-mode teleport", "Unknown search mode 'teleport'"),
        ("train --model x --base-url http://h", "doesn't take 'base_url'"),
        ("train --model x --eval-split train", "both use"),
        ("train --model x --group-size 1", "group_size"),
        ("train --model x --reward bleu", "Unknown reward 'bleu'"),
        ("train --model ./nowhere", "No model at"),
        ("eval", "eval needs --model"),
        ("ask Q", "either --model or --script"),
        ("ask Q --model x --script y", "not both"),
        ("ask Q --script y --sample", "--sample"),
        ("ask Q --script y --seed -1", "--seed must be a whole number of at least 0; got -1"),
        ("ask Q --script y --noise-probability 2", "--noise-probability must be a number between 0 and 1"),
        ("ask Q --script y --threads -1", "threads must be a whole number"),
        ("ask Q --script y --json nodir/x.json", "--json 'nodir/x.json' can't be written"),
        ("eval --model x --seed -1", "--seed must be a whole number of at least 0; got -1"),
        ("eval --model x --limit 0", "--limit must be a whole number of at least 1; got 0"),
        ("eval --model x --limit -5", "--limit must be a whole number of at least 1; got -5"),
        ("eval --model x --json nodir/x.json", "--json 'nodir/x.json' can't be written"),
        ("train --model x --json nodir/x.json", "--json 'nodir/x.json' can't be written"),
        ("train --model x --runs /dev/null", "No run can be made in '/dev/null'"),
        ("warmstart --out w --threads 0", "--threads must be a whole number of at least 1; got 0"),
        ("warmstart --out w --seed -1", "--seed must be a whole number of at least 0; got -1"),
    ],
)
def test_errors_name_what_is_wrong(
    arguments: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments.split()) == 2
    error = capsys.readouterr().err
    assert "\nerror: " in "\n" + error  # a line may tell before it where the run would compute
    assert message in error
    assert not list(tmp_path.glob("runs/*/*"))


def test_errors_of_files_are_told_in_a_line(monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path) -> None:
    def full_disk(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("agents.runs.write_json", full_disk)
    arguments = ["ask", QUESTION, "--script", "<answer>Dakar</answer>", "--json", str(tmp_path / "t.json")]
    assert main(arguments) == 2
    assert capsys.readouterr().err == "error: [Errno 28] No space left on device\n"


def test_ask_computes_with_as_many_threads_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    monkeypatch.setattr("torch.set_num_threads", threads.append)
    assert main(["ask", QUESTION, "--script", "<answer>Dakar</answer>", "--threads", "3"]) == 0
    assert threads == [3]


def test_warmstart_is_a_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["warmstart", "--out", str(tmp_path)]) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", ["train --epochs 3", "eval --mod x", "fly"])
def test_flags_that_do_not_exist_are_refused(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments.split())
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert "unrecognized arguments: --" in error or "invalid choice: 'fly'" in error


def test_thresholds_replace_the_mix_of_a_preset() -> None:
    flags = ["--preset", "quickstart", "--start-threshold", "0.1", "--end-threshold", "0.2"]
    noise = sections_of(parser().parse_args(["train", *flags]))["noise"]
    assert noise == {"start_threshold": 0.1, "end_threshold": 0.2}


def test_a_short_run_of_a_preset_has_a_short_warm_up() -> None:
    for steps, warmup in ((1, 0), (3, 1), (30, 5)):
        flags = ["--preset", "quickstart", "--total-steps", str(steps)]
        said: list[str] = []
        config = load_config(sections_of(parser().parse_args(["train", *flags]), say=said.append))
        assert (config.training.total_steps, config.optimizer.warmup_steps) == (steps, warmup)
        assert len(said) == (steps < 5)


def test_a_run_takes_an_executor_and_a_measurement_from_its_caller(checkpoint: Path, tmp_path: Path) -> None:
    options = parser().parse_args([*train_flags(checkpoint, tmp_path), "--total-steps", "1", "--eval-limit", "1"])
    config, made = load_config(sections_of(options)), []

    def executor_for(*given: Any) -> Executor:
        made.append(make_executor(*given))
        return made[-1]

    before = {"noise_0": {"em_greedy": 0.25}}
    lines: list[str] = []
    summary = train(config, RunFolder("own", root=tmp_path), executor_for=executor_for, before=before, say=lines.append)
    assert len(made) == 1
    assert summary["before"] == before
    assert not [line for line in lines if "before training" in line]


def test_weights_in_float16_are_not_trained(tmp_path: Path) -> None:
    config = load_config({"model": {"source": "m", "dtype": "float16"}})
    with pytest.raises(ConfigError, match="needs dtype 'float32' or 'bfloat16'; got 'float16'"):
        train(config, RunFolder("low", root=tmp_path))
    assert not list(tmp_path.iterdir())


def test_help_does_not_load_torch() -> None:
    code = (
        "import sys; from agents.cli import parser; parser().format_help(); "
        "print([name for name in ('torch', 'transformers', 'ray') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_the_local_executor_never_imports_ray() -> None:
    # An entry of None makes an import of it fail.
    code = "import sys; sys.modules['ray'] = None; import agents.executors.local, agents.grpo; print('fine')"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "fine"
