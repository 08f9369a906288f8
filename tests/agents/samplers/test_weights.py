from pathlib import Path
from typing import Any

import pytest
import torch

from agents.errors import ModelError
from agents.policy import Policy
from agents.samplers.vllm import write_for_vllm
from agents.samplers.weights import base_model_of, named_weights
from agents.testing import byte_tokenizer, tiny_llama


def logits_of(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.arange(12)[None]).logits


def loaded(weights: dict[str, torch.Tensor]) -> Any:
    """A plain model with these weights and no others."""
    fresh = tiny_llama(seed=9)
    fresh.load_state_dict(weights)
    return fresh


def lora_of(model: Any, **options: Any) -> Any:
    peft = pytest.importorskip("peft")
    given = {"r": 4, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj", "down_proj"], **options}
    adapted = peft.get_peft_model(model, peft.LoraConfig(**given))
    torch.manual_seed(1)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.3)  # of B, too, which begins at zero
    return adapted.eval()


def test_a_plain_model_gives_its_own_weights() -> None:
    model = tiny_llama()
    weights = dict(named_weights(model))
    assert all(
        weights[name] is value or torch.equal(weights[name], value) for name, value in model.state_dict().items()
    )
    assert torch.equal(logits_of(loaded(weights)), logits_of(model))


def test_adapters_are_merged_and_the_model_is_left_as_it_was() -> None:
    plain = logits_of(tiny_llama())
    model = lora_of(tiny_llama(), modules_to_save=["lm_head"])
    with torch.no_grad():
        model.base_model.model.lm_head.modules_to_save["default"].weight.add_(0.5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    weights = dict(named_weights(model))
    assert set(weights) == set(tiny_llama().state_dict())
    assert (logits_of(model) - plain).abs().max() > 0.1
    torch.testing.assert_close(logits_of(loaded(weights)), logits_of(model), atol=1e-5, rtol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert base_model_of(model) is model.base_model.model


def test_an_adapter_that_is_merged_or_off_is_not_added_again() -> None:
    model = lora_of(tiny_llama())
    with model.disable_adapter():
        torch.testing.assert_close(logits_of(loaded(dict(named_weights(model)))), logits_of(tiny_llama()))
    whole = logits_of(model)
    model.merge_adapter()
    torch.testing.assert_close(logits_of(loaded(dict(named_weights(model)))), whole, atol=1e-5, rtol=1e-5)


def test_an_adapter_that_is_more_than_a_sum_is_refused() -> None:
    with pytest.raises(ModelError, match=r"q_proj.*only plain LoRA"):
        dict(named_weights(lora_of(tiny_llama(), use_dora=True)))


def test_a_model_with_adapters_put_into_it_is_written_whole_for_vllm(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    model = tiny_llama()
    peft.inject_adapter_in_model(peft.LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False), model)
    write_for_vllm(Policy(model, byte_tokenizer()), tmp_path)
    read = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert {file.name for file in tmp_path.iterdir()} >= {"config.json", "model.safetensors", "tokenizer.json"}
    assert (logits_of(read) - logits_of(tiny_llama())).abs().max() > 0.01
    torch.testing.assert_close(logits_of(read), logits_of(model), atol=1e-5, rtol=1e-5)
