"""A conversation with the model, as token ids: a prompt, what the model writes, what is laid between.

What the model wrote keeps the ids that it was sampled with. A prompt is a template with slots; what is laid into a slot
is never looked at again, so a question or a document that spells a slot, a tag or a control token stays text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from agents.codec import CharacterCodec
from agents.conversation import RolloutSettings, is_inside_thought
from agents.samplers.base import ConversationKey, FinishReason, GenerationRequest
from benchmarks.leaderboard.agents.table import GameOver, Table
from zs_env.episode import Provenance, Segment

__all__ = ["DOCUMENTS", "Notes", "Talk", "fill"]

DOCUMENTS = "documents"
"""The slot whose text is the environment's."""


class Notes:
    """What a game's talks share: the transcript, what the calls took, and the draws of their seeds.

    Args:
        draws: Where seeds come from.

    Attributes:
        segments: The transcript.
        prompt_tokens: Tokens that were read, each call's whole prompt counted.
        completion_tokens: Tokens that were written.
    """

    def __init__(self, draws: np.random.Generator) -> None:
        self.segments: list[Segment] = []
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self._draws = draws
        self._is_new = True

    def seed(self) -> int:
        """The seed of the next call."""
        return int(self._draws.integers(2**63))

    def begin(self) -> None:
        """Another talk begins."""
        self._is_new = True

    def add(self, provenance: Provenance, text: str) -> None:
        """Add to the transcript; what one writer says in a row is one segment of a talk."""
        if text and not self._is_new and self.segments[-1].provenance == provenance:
            text = self.segments.pop().text + text
        self._is_new = self._is_new and not text
        if text:
            self.segments.append(Segment(provenance, text))


def fill(template: str, values: Mapping[str, str]) -> list[tuple[str | None, str]]:
    """A template with its slots filled, in parts: the slot that each comes from, None for the template's own text.

    Only slots that a value is given for are slots; the values are laid in as they are.

    Examples:
        >>> fill("{documents} Q: {question} {other}", {"documents": "{question}", "question": "why?"})
        [('documents', '{question}'), (None, ' Q: '), ('question', 'why?'), (None, ' {other}')]
    """
    pieces = re.split(r"\{(" + "|".join(map(re.escape, values)) + r")\}", template) if values else [template]
    parts = [(name, values[name]) if name else (None, piece) for piece, name in _pairs(pieces)]
    return [(name, text) for name, text in parts if text]


def _pairs(pieces: list[str]) -> list[tuple[str, str | None]]:
    """Own text and slot names of `re.split`, in turns, each marked as what it is."""
    return [("", piece) if number % 2 else (piece, None) for number, piece in enumerate(pieces)]


class Talk:
    """One context of the model.

    Attributes:
        ended: Why the last text ended: "stop" (one of its stop texts), "eos" (of the model's own accord), "length".
        num_written: The tokens of the last text.
    """

    def __init__(
        self,
        parts: list[tuple[str | None, str]],
        *,
        table: Table,
        notes: Notes,
        rollout: RolloutSettings,
        key: ConversationKey,
        begin: str = "",
    ) -> None:
        self.ended: FinishReason = "stop"
        self.num_written = 0
        self._may_fail = not notes.segments
        self._table, self._notes, self._rollout, self._key = table, notes, rollout, key
        text = "".join(part for _, part in parts)
        self._ids = table.codec.encode_first(text)
        if begin and not table.codec.use_chat_template:  # there it is the end of the prompt
            begin = "\n" + begin
        self._ids.extend(table.codec.encode(begin) if begin else [])
        self._check_prompt()
        before, after = table.codec.around_first()
        notes.begin()
        for name, part in [(None, before), *parts, (None, after), (None, begin)]:
            notes.add("environment" if name == DOCUMENTS else "prompt", part)

    @property
    def key(self) -> ConversationKey:
        """Which of all conversations it is."""
        return self._key

    @property
    def num_tokens(self) -> int:
        """Tokens so far."""
        return len(self._ids)

    def _check_prompt(self) -> None:
        most, new = self._rollout.max_episode_tokens, self._rollout.max_new_tokens
        if self._ids and len(self._ids) + new <= most:
            return
        if not self._may_fail:  # it is what the model wrote that is too long
            raise GameOver("out_of_tokens")
        raise GameOver(
            "failed",
            f"A prompt has {len(self._ids)} tokens, and what is written after it may have max_new_tokens={new}: "
            f"max_episode_tokens={most} is too small for both. A question is never cut.",
        )

    async def write(self, *, stop: tuple[str, ...] = (), max_new_tokens: int | None = None) -> str:
        """Have the model go on.

        Args:
            stop: Where its text ends, the stop text included where the model is here; a server may leave it out.
            max_new_tokens: The most tokens, of the codec; the settings' own if left out. Less where the talk's budget
                ends.

        Raises:
            GameOver: The budget is used up already.
        """
        most = self._rollout.max_new_tokens if max_new_tokens is None else max_new_tokens
        most = min(most, self._rollout.max_episode_tokens - len(self._ids))
        if most < 1:
            raise GameOver("out_of_tokens")
        request = GenerationRequest(
            prompt_ids=list(self._ids), seed=self._notes.seed(), max_new_tokens=most, conversation=self._key
        )
        generation = await self._table.write(request, stop)
        read, written = self._table.count(request, generation)
        self._notes.prompt_tokens += read
        self._notes.completion_tokens += written
        self._ids.extend(generation.ids)
        self._notes.add("policy", generation.text)
        self.ended, self.num_written = generation.finish_reason, len(generation.ids)
        return generation.text

    async def write_turn(self, *, stop: tuple[str, ...]) -> str:
        """`write` that goes on where a stop text is only quoted in a thought, as turns of the environment do.

        Raises:
            GameOver: The budget is used up already.
        """
        said = await self.write(stop=stop)
        left = self._rollout.max_new_tokens - self.num_written
        while self.ended == "stop" and left > 0 and is_inside_thought(said):
            said += await self.write(stop=stop, max_new_tokens=left)
            left -= self.num_written
        return said

    def insert(self, template: str, /, **values: str) -> None:
        """Lay text of the environment after what was said.

        Raises:
            GameOver: It doesn't fit, with a whole text of the model's after it.
        """
        text = "".join(part for _, part in fill(template, values))
        ids = self._table.codec.encode(text)
        if self.ended == "eos" and not isinstance(self._table.codec, CharacterCodec):
            self._ids.pop()  # the model is to go on in the turn that it ended
            self.ended = "stop"
        if len(self._ids) + len(ids) + self._rollout.max_new_tokens > self._rollout.max_episode_tokens:
            raise GameOver("out_of_tokens")
        self._ids.extend(ids)
        self._notes.add("environment", text)

    def has_room(self, text: str, *, searches_left: int) -> bool:
        """Whether a text may be laid in: as in `agents.conversation`, no document may take later turns away."""
        new = self._rollout.max_new_tokens
        left = self._rollout.max_episode_tokens - len(self._ids) - new
        room = max(left - 2 * new * searches_left, left // 2) if searches_left > 0 else left
        return len(self._table.codec.encode(text)) <= room
