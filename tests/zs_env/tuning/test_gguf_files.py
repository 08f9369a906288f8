"""llama.cpp reads what is written as transformers reads the folder: the same tokens, the same probabilities."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.zs_env.tuning.tiny_models import TEXTS, save_model
from zs_env.errors import ConfigError
from zs_env.serving.checks import free_port
from zs_env.tuning.gguf_files import write_gguf
from zs_env.tuning.gguf_kinds import KINDS, to_type
from zs_env.tuning.gguf_vocabulary import CUTS

pytest.importorskip("gguf")
pytest.importorskip("transformers")
xllamacpp = pytest.importorskip("xllamacpp")


@contextmanager
def served(file: Path) -> Iterator[Any]:
    """llama.cpp with a file: gives a function that asks a path of its server."""
    params = xllamacpp.CommonParams()
    params.model.path = str(file)
    params.hostnames, params.port = ["127.0.0.1"], free_port("127.0.0.1")
    params.n_parallel, params.n_ctx, params.cpuparams.n_threads = 1, 512, 1
    params.warmup, params.verbosity = False, -1
    server = xllamacpp.Server(params)

    def ask(path: str, **body: Any) -> Any:
        data, header = json.dumps(body).encode(), {"Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(server.listening_address + path, data, header)) as reply:
            return json.load(reply)

    yield ask


def check_equal(folder: Path, file: Path, limit: float) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with served(file) as ask:
        for text in TEXTS:
            ids = tokenizer(text)["input_ids"]
            assert ask("/tokenize", content=text, add_special=True, parse_special=True)["tokens"] == ids, text
            assert len(ids) < len(text.encode()), "something is merged"
            with torch.no_grad():
                known = torch.log_softmax(model(torch.tensor([ids])).logits[0, -1], -1)
            # Half a character, or the end, would be told without probabilities, which are those before the bias.
            said = {"n_predict": 1, "n_probs": 20, "logit_bias": [[tokenizer.convert_tokens_to_ids("a"), 1000]]}
            reply = ask("/completion", prompt=ids, cache_prompt=False, **said)
            told = reply["completion_probabilities"][0]["top_logprobs"]
            assert {each["id"] for each in told[:1]} == {int(known.argmax())}
            assert max(abs(each["logprob"] - float(known[each["id"]])) for each in told) < limit
            assert len(told) == 20
        chat = [{"role": "user", "content": "the world"}]
        used = ask("/v1/chat/completions", messages=chat, max_tokens=1)["usage"]["prompt_tokens"]
        assert used == len(tokenizer.apply_chat_template(chat, add_generation_prompt=True)["input_ids"])


MODELS = {
    "llama": ("Llama", "smollm", {"tie_word_embeddings": True}),
    "llama with biases": ("Llama", "gpt-2", {"attention_bias": True}),
    "llama 3": (
        "Llama",
        "llama-bpe",
        {
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 500.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            }
        },
    ),
    "longer": ("Llama", "gpt-2", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}}),
    "qwen2": ("Qwen2", "qwen2", {}),
    "qwen3": ("Qwen3", "qwen2", {"head_dim": 32}),
    "mistral": ("Mistral", "sentencepiece", {"sliding_window": 256}),
    "mistral nemo": ("Mistral", "tekken", {"sliding_window": None, "head_dim": 32}),
}


@pytest.mark.parametrize("name", MODELS)
def test_llamacpp_reads_what_transformers_does(name: str, tmp_path: Path) -> None:
    architecture, cut, further = MODELS[name]
    folder = save_model(tmp_path / "model", architecture, cut, **further)
    write_gguf(folder, tmp_path / "m.gguf", "f32")
    check_equal(folder, tmp_path / "m.gguf", 0.02)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.gguf", "model"]


def test_every_cut_is_met() -> None:
    assert {cut for _, cut, _ in MODELS.values()} == {*CUTS.values(), "sentencepiece"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_read_and_none_is_larger_than_the_one_before(kind: str, tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model", "Llama", "smollm", width=256, tie_word_embeddings=True)
    made = write_gguf(folder, tmp_path / "m.gguf", kind)
    assert made.keys() & {KINDS[kind].matrix}
    with served(tmp_path / "m.gguf") as ask:
        assert ask("/completion", prompt="the world", n_predict=4, temperature=0)["tokens_predicted"] == 4


ERRORS = {"F32": 0.0, "F16": 1e-3, "BF16": 5e-3, "Q8_0": 0.01, "Q6_K": 0.02, "Q5_K": 0.04, "Q4_K": 0.08, "Q4_0": 0.1}


@pytest.mark.parametrize("name", ERRORS)
def test_numbers_survive_a_format_as_well_as_it_can(name: str) -> None:
    import gguf

    values = np.random.default_rng(0).standard_normal((16, 512)).astype(np.float32)
    packed = to_type(values, name, "x")
    back = gguf.quants.dequantize(packed, gguf.GGMLQuantizationType[name])
    error = float(np.sqrt(np.mean((back - values) ** 2)))
    assert error <= ERRORS[name]
    assert name == "F32" or error > 0


def test_numbers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="holds 70000, which f16 can't: take bf16 or f32"):
        to_type(np.array([[7e4]], dtype=np.float32), "F16", "x")
    with pytest.raises(ConfigError, match="x holds numbers that aren't finite"):
        to_type(np.array([[np.nan]], dtype=np.float32), "F32", "x")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_model(tmp_path / "model", "Llama", "gpt-2")


def change(file: Path, **values: Any) -> None:
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, **values}))


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "another architecture": ({"architectures": ["FalconForCausalLM"]}, "'FalconForCausalLM' aren't written here"),
    "positions": ({"rope_parameters": {"rope_type": "yarn"}}, "positions of the type 'yarn' aren't"),
    "a window": ({"use_sliding_window": True}, "through a sliding window"),
    "quantised": ({"quantization_config": {"quant_method": "gptq"}}, r"quantised already \(gptq\)"),
    "a small vocabulary": ({"vocab_size": 10}, "they don't belong to each other"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_not_written_is_refused_and_leaves_nothing(name: str, folder: Path, tmp_path: Path) -> None:
    values, said = CHANGES[name]
    change(folder / "config.json", **values)
    with pytest.raises(ConfigError, match=said):
        write_gguf(folder, tmp_path / "m.gguf")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_tokenizers_that_are_not_known_are_refused(folder: Path, tmp_path: Path) -> None:
    change(folder / "tokenizer.json", pre_tokenizer={"type": "Whitespace"})
    with pytest.raises(ConfigError, match=r"cuts text isn't known here \(.*Whitespace"):
        write_gguf(folder, tmp_path / "m.gguf")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ConfigError, match="must hold the model's tokenizer"):
        write_gguf(folder, tmp_path / "m.gguf")


def test_a_simulator_is_asked_by_chat(folder: Path, tmp_path: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ConfigError, match="no chat template"):
        write_gguf(folder, tmp_path / "m.gguf")


def test_wrong_paths_and_kinds(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must end in"):
        write_gguf(folder, tmp_path / "m.bin")
    with pytest.raises(ConfigError, match=r"must be one of f32, f16.*got 'q3'"):
        write_gguf(folder, tmp_path / "m.gguf", "q3")
    with pytest.raises(ConfigError, match=r"must be a model's folder"):
        write_gguf(tmp_path / "none", tmp_path / "m.gguf")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"must hold the weights as model.safetensors"):
        write_gguf(folder, tmp_path / "m.gguf")
