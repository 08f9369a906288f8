import pytest

from benchmarks.leaderboard.secrecy import find_private, find_secrets


@pytest.mark.parametrize(
    "value",
    [
        {"note": "sk-proj-0123456789abcdef01"},
        {"note": "hf_abcdefghijklmnopqrstuvwx"},
        {"note": "Authorization: Bearer abcdefghij0123456789"},
        {"note": "https://user:hunter2@host"},
        {"note": "-----BEGIN RSA PRIVATE KEY-----"},
        {"note": ["deep", {"er": "AKIAABCDEFGHIJKLMNOP"}]},
        {"api_key": "anything"},
        {"judge": {"api-key": "anything"}},
        {"hf_abcdefghijklmnopqrstuvwx": 1},
        {"password": "x"},
        {"access_token": "x"},
    ],
)
def test_a_secret_is_found(value):
    assert len(list(find_secrets(value))) == 1


@pytest.mark.parametrize(
    "value",
    [
        {"tokens": "model", "prompt_tokens": 3, "max_new_tokens": 5, "api_key": None, "token": "", "secret": "***"},
        {"note": "a risk-averse sk-learn user said: bearer of bad news"},
        {"sha256": "0" * 64, "commit": "a" * 40},
    ],
)
def test_what_is_none_isnt(value):
    assert list(find_secrets(value)) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/home/ada/models/x", "folder of a machine: '/home/ada/models/x'"),
        ("it is in ~/models", "'~/models'"),
        ("C:\\Users\\ada", "folder of a machine"),
        ("corpus=/data/wiki", "'/data/wiki'"),
        ("http://10.0.0.7:8000/v1", "names a server"),
        ("https://api.openai.com/v1", "names a server"),
        ("https://arxiv.org.example.com/x", "names a server"),
    ],
)
def test_whose_machine_it_is_is_found(text, told):
    (found,) = find_private({"a": {"b": [text]}})
    assert told in found
    assert found.startswith("record.json: a: b[0]")


@pytest.mark.parametrize(
    "text",
    [
        "arXiv 2505.04588",
        "https://arxiv.org/abs/2505.04588",
        "https://github.com/x/y",
        "em/f1",
        "3/4",
        "HuggingFaceTB/x",
    ],
)
def test_sources_may_be_named(text):
    assert list(find_private(text)) == []
