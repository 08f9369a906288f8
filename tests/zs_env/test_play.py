from __future__ import annotations

from collections.abc import Callable

import pytest

from zs_env.__main__ import main, parser, play


def reader(*lines: str) -> Callable[[str], str]:
    waiting = iter(lines)

    def read(prompt: str) -> str:
        try:
            return next(waiting)
        except StopIteration:
            raise EOFError from None

    return read


def test_a_person_plays_an_episode(tmp_path: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "own.jsonl"  # type: ignore[operator]
    file.write_text('{"question": "Who wrote Emma?", "answer": "Jane Austen"}\n')
    options = parser().parse_args(["play", "--questions", str(file), "--seed", "1"])
    play(options, reader("who wrote Emma", "= jane austen", "", "= someone else"))
    out = capsys.readouterr().out
    assert "✔ right" in out
    assert "✘ not right, it is Jane Austen" in out
    assert "1 of 2 right" in out


def test_q_leaves(capsys: pytest.CaptureFixture[str]) -> None:
    play(parser().parse_args(["play"]), reader("q", "never read"))
    assert "0 of 0 right" in capsys.readouterr().out


def test_bad_options_are_one_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["play", "--questions", "/no/such/file.jsonl"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_who_answers_is_chosen_by_flags(capsys: pytest.CaptureFixture[str]) -> None:
    options = parser().parse_args(
        ["play", "--search-mode", "hostile", "--search-option", 'attacks=["empty"]', "--search-option", "probability=1"]
    )
    assert options.search_option == {"attacks": ["empty"], "probability": 1}
    play(options, reader("capital of Kenya"))
    assert "0 of 0 right" in capsys.readouterr().out
    server = ["play", "--search-mode", "simulate_prompt", "--simulation-llm", "m", "--base-url", "http://127.0.0.1:1"]
    given = ["--no-check", "--search-option", "max_tries=1", "--search-option", "max_retries=0"]
    play(parser().parse_args([*server, *given]), reader("capital of Kenya"))
    assert "127.0.0.1:1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--search-option", "persona=Google"], "'template' doesn't take 'persona'"),
        (["--search-mode", "simulate_prompt"], "needs base_url"),
        (
            ["--search-mode", "simulate_prompt", "--base-url", "http://127.0.0.1:1", "--search-option", "tries=1"],
            "'tries'",
        ),
    ],
)
def test_options_that_nobody_takes_are_told(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["play", *flags]) == 2
    assert message in capsys.readouterr().err
