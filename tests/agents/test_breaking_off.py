"""What a run does when it is stopped, or when a step breaks off: what is saved, what is said, and that it can go on."""

import errno
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agents.alarms import Alarm
from agents.assembly import make_executor
from agents.checkpoints import Checkpoints, read_state
from agents.cli import main
from agents.errors import CheckpointError, CollapseError, NonFiniteError, RolloutError, RunBusyError, TrainingError
from agents.interrupts import Interrupted, StopSignals
from agents.learner import Learner
from agents.policy import Policy
from agents.runs import RunFolder
from agents.testing import byte_tokenizer, tiny_lfm2
from tests.agents.doubles import first_letters
from tests.agents.resuming import assert_equal_runs, begin, config_of, go_on, lines_of, sections
from zs_env.errors import ConfigError
from zs_env.rewards import REWARDS


@pytest.fixture(autouse=True)
def _letters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REWARDS, "letters", first_letters)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    Policy(tiny_lfm2(), byte_tokenizer()).save(folder)
    return folder


def short(model: Path, **changes: Any) -> dict[str, dict[str, Any]]:
    made = sections(model, training={"total_steps": 3}, evaluation={"limit": 1, "noise": [0.0]}, **changes)
    made["optimizer"]["warmup_steps"] = 0
    return made


@pytest.fixture(scope="module")
def whole(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the short settings that nothing stops."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(REWARDS, "letters", first_letters)  # type: ignore[arg-type]
        root = tmp_path_factory.mktemp("runs")
        begin(root, "whole", short(model))
    return root / "whole"


def breaking(at: int, act: Callable[[], None], *, update: int = 0) -> Callable[..., Any]:
    """What makes an executor that acts before the policy's `update`-th update of step `at`."""

    def executor_for(*given: Any) -> Any:
        executor = make_executor(*given)
        whole, seen = executor.update, {"version": -1, "count": 0}

        def updated(*args: Any, **options: Any) -> Any:
            if executor.sampler.weight_version != seen["version"]:
                seen.update(version=executor.sampler.weight_version, count=0)
            if (seen["version"], seen["count"]) == (at, update):
                act()
            seen["count"] += 1
            return whole(*args, **options)

        executor.update = updated  # type: ignore[method-assign]
        return executor

    return executor_for


def raising(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore of it."),
    MemoryError(),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
def test_out_of_memory_says_how_to_go_on(error: BaseException, whole: Path, model: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError) as caught:
        begin(tmp_path, "run", short(model, run={"checkpoint_every": 0}), executor_for=breaking(1, raising(error)))
    told = str(caught.value)
    assert "Out of memory" in told
    assert "In training step 1 (of 3, from 0)" in told
    assert f"--resume --run-name run --runs {tmp_path} --micro-batch-tokens 8192" in told
    assert "\n" not in told
    assert read_state(tmp_path / "run" / "checkpoint")["step"] == 1  # nothing of the step was applied
    lines: list[str] = []
    go_on(tmp_path, "run", {"learner": {"micro_batch_tokens": 8192}}, say=lines.append)
    assert any("micro_batch_tokens was 16384 and is now 8192" in line and "rounding" in line for line in lines)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["learner"]["micro_batch_tokens"] == 8192
    assert_equal_runs(whole, tmp_path / "run")


def test_half_a_step_is_never_saved(model: Path, tmp_path: Path) -> None:
    settings = short(model, run={"checkpoint_every": 1})
    settings["training"]["num_minibatches"] = 2
    settings["grpo"] = {"zero_variance": "keep"}
    act = breaking(1, raising(MemoryError()), update=1)
    with pytest.raises(TrainingError, match=r"The last good checkpoint is .*step-000001, after 1 steps"):
        begin(tmp_path, "run", settings, executor_for=act)
    assert read_state(tmp_path / "run" / "checkpoint")["step"] == 1
    go_on(tmp_path, "run")
    begin(tmp_path, "whole", settings)
    assert_equal_runs(tmp_path / "whole", tmp_path / "run")


def test_an_optimizer_step_that_breaks_off_is_not_saved(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(self: Any, *_: Any) -> None:
        with torch.no_grad():
            self.param_groups[0]["params"][0].add_(1.0)
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", step)
        with pytest.raises(TrainingError, match="There is no checkpoint yet"):
            begin(tmp_path, "run", short(model))
    assert not (tmp_path / "run" / "checkpoint").exists()


def test_out_of_memory_in_a_rollout_asks_for_smaller_batches(model: Path, tmp_path: Path) -> None:
    def executor_for(*given: Any) -> Any:
        executor = make_executor(*given)

        def generate(*_: Any) -> Any:
            raise torch.OutOfMemoryError("CUDA out of memory.")

        executor.sampler.generate = generate
        return executor

    with pytest.raises(TrainingError, match=r"Out of memory.* --max-batch-tokens 32768"):
        begin(tmp_path, "run", short(model), executor_for=executor_for)


def test_weights_that_are_not_finite_do_not_replace_those_of_before(model: Path, tmp_path: Path) -> None:
    act = breaking(2, raising(NonFiniteError("The loss is nan.")))
    with pytest.raises(NonFiniteError) as caught:
        begin(tmp_path, "run", short(model, run={"checkpoint_every": 1}), executor_for=act)
    assert f"--model {tmp_path / 'run' / 'checkpoint'} --run-name NEW --learning-rate 0.0005" in str(caught.value)
    with pytest.raises(NonFiniteError):
        begin(tmp_path, "rare", short(model, run={"checkpoint_every": 0}), executor_for=act)
    assert read_state(tmp_path / "rare" / "checkpoint")["step"] == 2


def test_an_engine_that_fails_can_be_mended(model: Path, tmp_path: Path) -> None:
    act = breaking(1, raising(RolloutError("3 of 4 episodes failed.")))
    with pytest.raises(RolloutError, match="Once that is mended, go on with: python -m agents train --resume"):
        begin(tmp_path, "run", short(model, run={"checkpoint_every": 0}), executor_for=act)
    assert go_on(tmp_path, "run")["after"]


def test_a_mistake_in_code_keeps_its_traceback_and_says_how_to_go_on(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        begin(tmp_path, "run", short(model), executor_for=breaking(1, lambda: 1 // 0 and None))
    assert "go on with: python -m agents train --resume" in caught.value.__notes__[0]


def test_a_full_disk_says_how_to_go_on(
    whole: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, write_all = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), Policy.write

    def write(self: Policy, folder: Path, **options: Any) -> None:
        if "step-000002" in folder.name:
            raise full
        write_all(self, folder, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Policy, "write", write)
        with pytest.raises(CheckpointError, match=r"No space left.*step-000001.*room again, go on with: .*--resume"):
            begin(tmp_path, "run", short(model, run={"checkpoint_every": 1}))
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "add_line", lambda *_: (_ for _ in ()).throw(full))
        with pytest.raises(TrainingError, match=r"step 1 gave can't be written.*No space left.*go on with: .*--resume"):
            go_on(tmp_path, "run")
    go_on(tmp_path, "run")
    assert_equal_runs(whole, tmp_path / "run")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_lets_the_step_end(number: int, code: int, whole: Path, model: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    act = breaking(1, lambda: os.kill(os.getpid(), number))
    with pytest.raises(Interrupted, match=r"after training step 1 \(of 3.*Go on with: .*--resume") as caught:
        begin(tmp_path, "run", short(model, run={"checkpoint_every": 0}), executor_for=act, say=lines.append)
    assert caught.value.exit_code == code
    assert any("Stopping after this training step" in line for line in lines)
    assert read_state(tmp_path / "run" / "checkpoint")["step"] == 2
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    go_on(tmp_path, "run")
    assert_equal_runs(whole, tmp_path / "run")


def test_the_second_signal_stops_at_once(model: Path, tmp_path: Path) -> None:
    def twice() -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match=r"step 1 \(of 3.*last good checkpoint is .*step-000001.*--resume"):
        begin(tmp_path, "run", short(model, run={"checkpoint_every": 1}), executor_for=breaking(1, twice))
    assert read_state(tmp_path / "run" / "checkpoint")["step"] == 1


def test_a_signal_outside_of_steps_stops_at_once_and_says_how_to_go_on(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(*_: Any, **__: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    with monkeypatch.context() as patch:
        patch.setattr("agents.assembly.evaluate_policy", measure)
        with pytest.raises(Interrupted, match=f"Go on with: .*--resume.* --model {model}") as caught:
            begin(tmp_path, "run", short(model))
    assert caught.value.exit_code == 143
    assert go_on(tmp_path, "run", {"model": {"source": str(model)}})["before"]


def test_signals_are_left_alone_in_other_threads() -> None:
    import threading

    def enter() -> None:
        with StopSignals(print):
            handlers.append(signal.getsignal(signal.SIGINT))

    handlers: list[Any] = []
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert handlers == [signal.default_int_handler]


class Sees:
    """An alarm that sees something in one step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, *_: Any) -> Any:
        return self

    def check(self, step: int, metrics: Any) -> list[Alarm]:
        return [Alarm(step, "reward_fall", "Reward fell.")] if step == self.step else []

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Any) -> None: ...


def test_an_alarm_warns_or_stops(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.loop.CollapseAlarm", Sees(1))
    lines: list[str] = []
    warned = begin(tmp_path, "warned", short(model), say=lines.append)
    assert warned["alarms"] == [{"step": 1, "kind": "reward_fall", "message": "Reward fell."}]
    assert "Alarm (reward_fall): Reward fell." in lines
    with pytest.raises(CollapseError, match=r"Reward fell\. So the alarm stopped the run after training step 1"):
        begin(tmp_path, "run", short(model, alarm={"action": "stop"}))
    assert read_state(tmp_path / "run" / "checkpoint")["step"] == 2
    assert go_on(tmp_path, "run", {"alarm": {"action": "warn"}})["alarms"] == warned["alarms"]
    assert_equal_runs(tmp_path / "warned", tmp_path / "run")


def test_other_settings_are_refused_by_name(model: Path, tmp_path: Path) -> None:
    with pytest.raises(RolloutError):
        begin(tmp_path, "run", short(model), executor_for=breaking(1, raising(RolloutError("Down."))))
    given = {"optimizer": {"learning_rate": 1.0}, "run": {"seed": 9, "workers": 2}, "noise": {"end_threshold": 0.5}}
    with pytest.raises(ConfigError) as caught:
        go_on(tmp_path, "run", given)
    for piece in (
        "[optimizer] learning_rate was 0.001 and is now 1.0",
        "[run] seed was 3 and is now 9",
        "[noise] end_threshold was 1.0 and is now 0.5",
        f"--model {tmp_path / 'run' / 'checkpoint'}",
    ):
        assert piece in str(caught.value)
    assert "workers" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"\[run\] algorithm was 'grpo' and is now 'ppo'"):
        go_on(tmp_path, "run", {"run": {"algorithm": "ppo"}})
    questions = tmp_path / "q.jsonl"
    questions.write_text('{"question": "Q?", "golden_answers": ["A"], "split": "train"}\n')
    with pytest.raises(ConfigError, match=r"training questions are not what the run began with.*--questions"):
        go_on(tmp_path, "run", {"questions": {"source": str(questions)}, "evaluation": {"source": "atlas"}})
    other = tmp_path / "other"
    Policy(tiny_lfm2(seed=1), byte_tokenizer()).save(other)
    with pytest.raises(ConfigError, match=r"starting model's weights are not what the run began with.*--model"):
        go_on(tmp_path, "run", {"model": {"source": str(other)}})
    # The same weights under another name are fine.
    Policy(tiny_lfm2(), byte_tokenizer()).save(tmp_path / "copy")
    assert (
        go_on(tmp_path, "run", {"model": {"source": str(tmp_path / "copy")}})["settings"]["model"]["source"] == "tiny"
    )


def test_two_processes_never_write_one_run(model: Path, tmp_path: Path) -> None:
    begin(tmp_path, "run", short(model))
    holder = RunFolder("run", root=tmp_path, resume=True)
    holder.open()
    with pytest.raises(RunBusyError, match="being written by another process"):
        go_on(tmp_path, "run")
    with pytest.raises(RunBusyError):
        begin(tmp_path, "run", short(model), overwrite=True)
    holder.close()
    lines: list[str] = []
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert go_on(tmp_path, "run", say=lines.append) == summary
    assert "is finished" in lines[0]


def test_what_is_missing_of_a_finished_run_is_made(model: Path, tmp_path: Path) -> None:
    summary = begin(tmp_path, "run", short(model))
    (tmp_path / "run" / "summary.json").unlink()
    again = go_on(tmp_path, "run")
    assert again["after"] == summary["after"]
    (tmp_path / "run" / "report.html").unlink()
    go_on(tmp_path, "run")
    assert (tmp_path / "run" / "report.html").is_file()
    with pytest.raises(ConfigError, match=r"total_steps was 3 and is now 9"):
        go_on(tmp_path, "run", {"training": {"total_steps": 9}})


def test_a_page_that_can_not_be_written_loses_no_run(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents.report_html.page.write_report", raising(ValueError("torn")))
    lines: list[str] = []
    assert begin(tmp_path, "run", short(model), say=lines.append)["after"]
    assert any("report.html could not be written" in line for line in lines)


def test_a_checkpoint_that_can_not_be_read_gives_way_to_an_earlier_one(model: Path, tmp_path: Path) -> None:
    settings = short(model, run={"checkpoint_every": 1, "keep_checkpoints": 5})
    begin(tmp_path, "whole", settings)
    begin(tmp_path, "run", settings)
    folder = tmp_path / "run"
    (folder / "summary.json").unlink()
    weights = folder / "checkpoints" / "step-000003" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    (folder / "checkpoints" / "step-000002" / "training_state.pt").write_bytes(b"torn")
    lines: list[str] = []
    go_on(tmp_path, "run", say=lines.append)
    assert any("aren't those that were saved" in line for line in lines)
    assert any("training_state.pt" in line and "step-000002.broken" in line for line in lines)
    for name in ("step-000002.broken", "step-000003.broken"):
        (folder / "checkpoints" / name).rename(tmp_path / name)
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {
        path.name for path in (tmp_path / "whole" / "checkpoints").iterdir()
    }
    assert_equal_runs(tmp_path / "whole", folder)
    (folder / "summary.json").unlink()
    for path in Checkpoints(folder).all():
        (path / "training_state.pt").unlink()
    with pytest.raises(CheckpointError, match="To begin again at step 0, delete"):
        go_on(tmp_path, "run")


def test_curves_hold_each_step_once(model: Path, tmp_path: Path) -> None:
    settings = short(model, run={"checkpoint_every": 1})
    settings["training"]["num_minibatches"] = 2
    settings["grpo"] = {"zero_variance": "keep"}
    with pytest.raises(TrainingError):
        begin(tmp_path, "run", settings, executor_for=breaking(2, raising(MemoryError()), update=1))
    # As if step 2 had been logged before the kill.
    files = sorted((tmp_path / "run").glob("events*"))
    from agents.runs import TensorBoardLogger

    late = TensorBoardLogger(tmp_path / "run")
    late.log(2, {"reward_mean": 77.0})
    late.close()
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "metr')
    go_on(tmp_path, "run")
    assert len(list((tmp_path / "run").glob("events*"))) == len(files) + 2
    curves = EventAccumulator(str(tmp_path / "run"))
    curves.Reload()
    events = curves.Scalars("reward_mean")
    assert [event.step for event in events] == [0, 1, 2]
    assert 77.0 not in [event.value for event in events]
    assert [record["step"] for record in lines_of(tmp_path / "run" / "metrics.jsonl")] == [0, 1, 2]


def test_the_penalty_pulls_to_the_first_weights_after_a_stop(model: Path, tmp_path: Path) -> None:
    settings = short(model, run={"checkpoint_every": 1})
    settings["training"]["kl_coef"] = 0.1
    with pytest.raises(RolloutError, match=f"--model {model}"):
        begin(tmp_path, "run", settings, executor_for=breaking(2, raising(RolloutError("Down."))))
    with pytest.raises(ConfigError, match=r"began with 'tiny', which isn't here.*Give --model"):
        go_on(tmp_path, "run")
    made: list[Any] = []

    def executor_for(*given: Any) -> Any:
        made.append(make_executor(*given))
        return made[-1]

    go_on(tmp_path, "run", {"model": {"source": str(model)}}, executor_for=executor_for)
    learner: Learner = made[0].learner
    reference = learner._reference
    assert reference is not None
    assert reference.fingerprints() == Policy(tiny_lfm2(), byte_tokenizer()).fingerprints()
    assert learner.policy.fingerprints() != reference.fingerprints()


def test_there_must_be_a_run_to_go_on_with(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no run 'run' in .*There are none"):
        RunFolder("run", root=tmp_path, resume=True)
    begin(tmp_path, "mine", short(model))
    with pytest.raises(ConfigError, match=r"no run 'run' in .*Runs there: mine"):
        RunFolder("run", root=tmp_path, resume=True)
    with pytest.raises(ConfigError, match="not both"):
        RunFolder("mine", root=tmp_path, resume=True, overwrite=True)
    (tmp_path / "mine" / "start.json").unlink()
    with pytest.raises(ConfigError, match="couldn't resume"):
        RunFolder("mine", root=tmp_path, resume=True)


def test_the_command_says_how_to_resume(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--resume"]) == 2
    assert "--resume needs --run-name" in capsys.readouterr().err
    with pytest.raises(RolloutError):
        begin(tmp_path, "run", short(model), executor_for=breaking(1, raising(RolloutError("Down."))))
    flags = ["train", "--resume", "--run-name", "run", "--runs", str(tmp_path)]
    assert main([*flags, "--learning-rate", "0.5"]) == 2
    assert "[optimizer] learning_rate was 0.001 and is now 0.5" in capsys.readouterr().err
    assert main([*flags, "--learning-rate", "0.001", "--keep-checkpoints", "2"]) == 0
    shown = capsys.readouterr()
    assert "Going on after 1 of 3 training steps." in shown.err
    assert "exact match, greedy" in shown.out
    assert main(flags) == 0
    assert "is finished" in capsys.readouterr().err


def test_settings_are_those_that_the_run_was_begun_with(model: Path, tmp_path: Path) -> None:
    begin(tmp_path, "run", short(model))
    config = config_of(RunFolder("run", root=tmp_path, resume=True))
    recorded = json.loads((tmp_path / "run" / "config.json").read_text())
    assert json.loads(json.dumps(config.record())) == recorded
    assert str(model.parent) not in json.dumps(recorded)
