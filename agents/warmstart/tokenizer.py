"""A small byte-level tokenizer whose words are those of the task and whose other pieces are made for names.

Words of the templates become tokens of their own. Names are cut into pieces learned from the *names of the training
split*, each name once, so a name never seen falls into pieces as a training name does. Bytes are the last resort: any
text can be encoded. A word has the same pieces wherever it stands, as long as a space stands before it;
demonstrations therefore put one after an opening tag.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from zs_env.questions.atlas_text import DOCUMENTS, SINGLE_HOP, TWO_HOP

__all__ = ["TAGS", "WORD", "build_tokenizer", "template_words"]

TAGS = tuple(f"<{slash}{name}>" for name in ("think", "search", "answer", "information") for slash in ("", "/"))

WORD = re.compile(r"[^\W\d_]+")
"""A run of letters."""

_PIECES = r"\nDoc \d+:| ?[\p{L}\p{M}]+| ?\p{N}| ?[^\s\p{L}\p{M}\p{N}]|\s"
_SLOT = re.compile(r"{\w+}")
_OFTEN = 400
MAX_DOCUMENTS = 10


def template_words(texts: Sequence[str], names: Iterable[str]) -> frozenset[str]:
    """The words of the templates, as they are written, and small words ("of", "and") that names share with them.

    Args:
        texts: Questions and documents of the training split.
        names: Every name in them.
    """
    in_names = {word for name in names for word in WORD.findall(name)}
    counts = Counter(word for text in texts for word in set(WORD.findall(text)))
    often = len(texts) / _OFTEN
    small = {word for word in counts if word[0].islower() and counts[word] > often}
    phrased = {word for phrasings in (SINGLE_HOP, TWO_HOP, DOCUMENTS) for word in _words_of(phrasings)}
    return frozenset({word for word in counts if word not in in_names} | small | (phrased & counts.keys()))


def _words_of(phrasings: Mapping[str, Sequence[str]]) -> set[str]:
    return {word for texts in phrasings.values() for text in texts for word in WORD.findall(_SLOT.sub(" ", text))}


def build_tokenizer(
    words: Iterable[str], names: Iterable[str], *, vocabulary_size: int = 800
) -> PreTrainedTokenizerFast:
    """Train the tokenizer.

    Args:
        words: Words that are to be tokens of their own.
        names: The names of the training split.
        vocabulary_size: Entries in all, the 256 bytes and the tags among them.
    """
    # Training sees counts alone: a word that comes often enough is merged whole before pieces of names are.
    lines = [f" {word}" for word in sorted(set(words)) for _ in range(_OFTEN)]
    lines += ["Question"] * _OFTEN
    lines += [f"\nDoc {number}:" for number in range(1, MAX_DOCUMENTS + 1)] * (_OFTEN // 2)
    lines += [f" {name}" for name in sorted(set(names))]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        lines,
        trainers.BpeTrainer(
            vocab_size=vocabulary_size - len(TAGS),
            special_tokens=["<pad>", "<s>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    # Tags are text that happens to be one token each, not control tokens: decoding never drops them.
    tokenizer.add_tokens([AddedToken(tag, normalized=False) for tag in TAGS])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", clean_up_tokenization_spaces=False
    )
