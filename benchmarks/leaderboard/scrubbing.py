"""What an error may say in a record: why something failed, and nothing of whose machine, server or key it was."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from benchmarks.leaderboard.episodes import PlayedEpisode
from benchmarks.leaderboard.secrecy import find_private, find_secrets
from zs_env.engines.around.keys import without_secrets

__all__ = ["scrub_episode", "scrub_text"]

_MAX_CHARS = 500
_HIDDEN = "What it said isn't shown, for it names a key or a place; the command's own output does."
_ADDRESS = re.compile(r"(?:https?|wss?)://[^\s'\"<>)\]]+")
_HOST = re.compile(r"\b(?:\d{1,3}(?:\.\d{1,3}){3}|localhost)(?::\d+)?")
_CONNECTING = re.compile(r"(?i)(host\s+)[\w.-]+:\d+")
_FOLDER = re.compile(r"(?<![\w.:/~])/(?:[\w.@+-]+/)+(?=[\w.@+-])")


def scrub_text(text: str) -> str:
    """A text without keys, addresses of servers, and folders of this machine; files keep their names.

    Examples:
        >>> scrub_text("GET http://10.0.0.7:8000/v1/models failed, see /home/me/runs/log.txt")
        'GET SERVER failed, see log.txt'
        >>> scrub_text("Cannot connect to host llm.example.org:443 (api_key=sk-123456789)")
        'Cannot connect to host SERVER (api_key=***)'
    """
    text = without_secrets(text).replace(str(Path.home()) + "/", "")
    text = _ADDRESS.sub("SERVER", text)
    text = _CONNECTING.sub(r"\1SERVER", text)
    text = _HOST.sub("SERVER", text)
    text = _FOLDER.sub("", text)[:_MAX_CHARS]
    return _HIDDEN if any((*find_secrets(text), *find_private(text))) else text


def scrub_episode(episode: PlayedEpisode) -> PlayedEpisode:
    """The same episode, with errors that say nothing of this machine; what was asked, read and written stays."""
    searches = tuple(
        search if search.error is None else replace(search, error=scrub_text(search.error))
        for search in episode.searches
    )
    error = None if episode.error is None else scrub_text(episode.error)
    return replace(episode, searches=searches, error=error)
