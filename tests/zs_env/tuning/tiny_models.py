"""Small random models of each architecture, with tokenizers that cut text in each of the known ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

CHAT = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TEXTS = (
    "Hello world, it's 1998 and 12  apples   cost $3.50!\n\n  12 x\t\t7",
    "I've 'told he's there, 'RE you sure?\r\n\r\nCafé Ünïcode — “quotes”…   ",
    "Привет, мир! 我想在apple工作1314151天～ 😁 🦙🦙 3..3",
    "<|im_start|>user\nDoc 1: the world\nDoc 2: the apples<|im_end|>\n",
    "   leading and trailing   ",
)


def make_tokenizer(cut: str) -> Any:
    """A tokenizer that merges what `TEXTS` repeat, after one of the cuts of `gguf_vocabulary`, or "sentencepiece"."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    from zs_env.tuning.gguf_vocabulary import CUTS

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    if cut == "sentencepiece":
        tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<|endoftext|>", fuse_unk=True))
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
        alphabet: list[str] = [*"abcdefghilmnoprstuwy▁"]
        special += [f"<0x{byte:02X}>" for byte in range(256)]
    else:
        tokenizer = Tokenizer(models.BPE())
        steps, normalizer = next(known for known, name in CUTS.items() if name == cut)
        made = []
        for kind, *given in steps:
            if kind == "Split":
                made.append(pre_tokenizers.Split(Regex(given[0]), given[1].lower(), given[2]))
            elif kind == "Digits":
                made.append(pre_tokenizers.Digits(individual_digits=given[0]))
            else:
                made.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=given[0]))
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(made)
        tokenizer.normalizer = normalizers.NFC() if normalizer else None
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=alphabet, special_tokens=special, show_progress=False
    )
    tokenizer.train_from_iterator([*TEXTS, *("the apples of the world cost 12 333 1998  12\n\n",) * 4], trainer)
    if cut == "sentencepiece":
        tokenizer = _with_bytes_as_text(tokenizer)
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in special[:3]])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, chat_template=CHAT, eos_token="<|im_end|>", bos_token="<|im_start|>"
    )


def _with_bytes_as_text(tokenizer: Any) -> Any:
    """Bytes are tokens of the vocabulary, and no special ones."""
    import json

    from tokenizers import Tokenizer

    content = json.loads(tokenizer.to_str())
    content["added_tokens"] = content["added_tokens"][:3]
    return Tokenizer.from_str(json.dumps(content))


def save_model(folder: Path, architecture: str, cut: str, *, width: int = 64, **further: Any) -> Path:
    """Save a random model and its tokenizer in Hugging Face's format.

    Args:
        folder: Where to.
        architecture: A name of `transformers`, such as "Qwen2".
        cut: See `make_tokenizer`.
        width: Of the hidden state.
        further: What else its config says.
    """
    import torch
    import transformers

    tokenizer = make_tokenizer(cut)
    config = getattr(transformers, f"{architecture}Config")(
        vocab_size=len(tokenizer) + 5,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        bos_token_id=1,
        eos_token_id=2,
        **{"initializer_range": 0.2, "max_position_embeddings": 512, "head_dim": width // 4, **further},
    )
    torch.manual_seed(0)
    model = getattr(transformers, f"{architecture}ForCausalLM")(config)
    with torch.no_grad():
        for name, values in model.named_parameters():
            if values.dim() == 1:  # norms and biases of a fresh model are all ones or zeros, which hides mistakes
                values.add_(0.1 * torch.randn_like(values))
            assert name
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
