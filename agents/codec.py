"""Between text and token ids: the only place where text is tokenised.

Text of the environment is encoded alone and appended; a policy's ids are kept as sampled. Control tokens are never
parsed out of text from elsewhere: a document that spells `<|im_end|>` or `[INST]` becomes ordinary tokens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["CharacterCodec", "TextCodec"]

_TAG = re.compile(r"(</?(?:think|search|answer|information)>)")
_SLOT = "\ue000"
"""A private-use character, which stands for the user's message while a chat template is rendered."""


class TextCodec:
    """Encodes what the environment says and decodes what the policy said.

    Args:
        tokenizer: Any transformers tokenizer.
        use_chat_template: Whether a first observation is put into the tokenizer's chat template, as a user message,
            with the opening of the assistant's turn after it. None for: if it has one. The template is applied once,
            at the start of an episode, and never again.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, use_chat_template: bool | None = None) -> None:
        self.tokenizer: Any = tokenizer
        has_template = getattr(tokenizer, "chat_template", None) is not None
        self.use_chat_template = has_template if use_chat_template is None else use_chat_template

    @cached_property
    def _control_tokens(self) -> frozenset[str]:
        return frozenset(
            str(token) for token in self.tokenizer.added_tokens_decoder.values() if getattr(token, "special", False)
        )

    @cached_property
    def _tag_ids(self) -> dict[str, int]:
        """Tags of the protocol that the tokenizer holds as control tokens: in our own text they mean themselves."""
        vocabulary = self.tokenizer.get_vocab()
        return {token: vocabulary[token] for token in self._control_tokens if _TAG.fullmatch(token)}

    def encode(self, text: str) -> list[int]:
        """Encode text of the environment, alone, with nothing added and no control token parsed out of it.

        The protocol's own tags are the exception: where a tokenizer has a token for one, it is used. Documents and
        questions can't hold a tag, because `zs_env` escapes them.
        """
        if not self._tag_ids:
            return self._encode_plain(text)
        ids: list[int] = []
        for piece in _TAG.split(text):
            if piece in self._tag_ids:
                ids.append(self._tag_ids[piece])
            elif piece:
                ids.extend(self._encode_plain(piece))
        return ids

    def encode_first(self, text: str) -> list[int]:
        """Encode a first observation: in the chat template, if used, else after the tokenizer's own start of text."""
        if not self.use_chat_template:
            return self._start_ids() + self.encode(text)
        before, after = self.around_first()
        return self._encode_template(before) + self.encode(text) + self._encode_template(after)

    def around_first(self) -> tuple[str, str]:
        """What stands before and after a first observation, control tokens included: chat template or start of text."""
        if not self.use_chat_template:
            return "".join(self.tokenizer.convert_ids_to_tokens(self._start_ids())), ""
        before, _, after = self._render_chat().partition(_SLOT)
        return before, after

    def decode(self, ids: Sequence[int]) -> str:
        """Say what ids say, control tokens included."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    def _encode_plain(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(
            text, add_special_tokens=False, split_special_tokens=True, return_attention_mask=False, verbose=False
        )["input_ids"]
        return ids

    def _encode_template(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"] if text else []
        return ids

    def _start_ids(self) -> list[int]:
        """What the tokenizer puts before a text of its own accord (a beginning-of-text token, or nothing)."""
        empty: list[int] = self.tokenizer("")["input_ids"]
        bos = self.tokenizer.bos_token_id
        return [bos] if bos is not None and empty[:1] == [bos] else []

    def _render_chat(self) -> str:
        rendered: str = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": _SLOT}], add_generation_prompt=True, tokenize=False
        )
        return rendered


class CharacterCodec(TextCodec):
    """Takes a text's characters for its tokens, for policies whose tokenizer is on a server."""

    def __init__(self) -> None:
        self.tokenizer = None
        self.use_chat_template = False

    def encode(self, text: str) -> list[int]:
        """The characters' numbers."""
        return [ord(character) for character in text]

    def encode_first(self, text: str) -> list[int]:
        """The same: what stands around a first observation is the server's to say."""
        return self.encode(text)

    def around_first(self) -> tuple[str, str]:
        """Nothing."""
        return "", ""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of these characters."""
        return "".join(map(chr, ids))
