"""Whether an answer is one that the policy wrote: a record's answers are held against its transcripts."""

from __future__ import annotations

import re

from benchmarks.leaderboard.episodes import PlayedEpisode
from zs_env.actions import parse_action

__all__ = ["is_written"]

_TAGS = re.compile(r"</?(?:think|search|answer|information)>")
_TEXT = re.compile(r"\\(?:text|textbf|mathrm)\{([^{}]*)\}")
_THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL)
_OF_THE_ENVIRONMENT = "zerosearch"


def is_written(episode: PlayedEpisode, agent: str) -> bool:
    """Whether the answer stands in what the policy wrote; nothing stands in a transcript that isn't there.

    Of the environment's own protocol the answer is the last action, word for word. Other agents read it out of a text,
    each in its own way, so there letters and digits count, and neither marks, thoughts, nor where in the text it
    stands.

    Args:
        episode: One that has an answer, and isn't a bound's.
        agent: Who played it.
    """
    said = [segment.text for segment in episode.segments if segment.provenance == "policy"]
    answer = episode.answer or ""
    if not said:
        return False
    if agent == _OF_THE_ENVIRONMENT:
        return parse_action(said[-1])[:2] == ("answer", answer)
    texts = ["".join(said), *said]
    read = (*texts, *(_THOUGHT.sub("", text) for text in texts))
    return any(_letters(answer) in _letters(text) for text in read)


def _letters(text: str) -> str:
    plain = _TEXT.sub(r"\1", _TAGS.sub(" ", text))
    return "".join(char for char in plain if char.isalnum())
