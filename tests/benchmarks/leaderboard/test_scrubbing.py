from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.leaderboard.scrubbing import scrub_text
from benchmarks.leaderboard.secrecy import find_private, find_secrets

PIECES = (
    "http://10.0.0.7:8000/v1/chat/completions",
    "https://user:secret@llm.example.org/v1",
    "/home/me/models/x.gguf",
    "~/keys/openai",
    r"C:\Users\me\log.txt",
    "sk-abcdefgh1234567890",
    "hf_abcdefghijklmnop123",
    "Authorization: Bearer abcdefghijklmnopqrstuv",
    "api_key=abcdefgh12345",
    "localhost:8080",
    "HTTP 500",
    "out of memory",
    "(4 tries)",
    f"{Path.home()}/runs/log.txt",
)


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=4), st.sampled_from([" ", ": ", "', '", "\n", "("]))
def test_whatever_an_error_says_a_record_may_hold_what_is_left(pieces: list[str], between: str) -> None:
    text = scrub_text(between.join(pieces))
    assert [*find_secrets(text), *find_private(text)] == []
    assert not any(
        secret in text for secret in ("abcdefgh", "10.0.0.7", "example.org", "localhost", str(Path.home()) + "/")
    )


@pytest.mark.parametrize(
    "text",
    ["HTTP 500: out of memory", "The engine 'bm25' found and/or returned 3/4 results at 12:30", "ChatError: see 1.2.3"],
)
def test_what_says_nothing_of_a_machine_stays(text: str) -> None:
    assert scrub_text(text) == text
