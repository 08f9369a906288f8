"""Playing the board's questions: many at once, with a model here or on a server, or with a function of one's own."""

from benchmarks.leaderboard.playing.harness import MAX_FAILURES_IN_A_ROW, play_questions
from benchmarks.leaderboard.playing.player import BoardPlayer, add_board_player_flags, load_board_player
from benchmarks.leaderboard.playing.table import Replay, TokenCount
from benchmarks.leaderboard.playing.tasks import BoardTask

__all__ = [
    "MAX_FAILURES_IN_A_ROW",
    "BoardPlayer",
    "BoardTask",
    "Replay",
    "TokenCount",
    "add_board_player_flags",
    "load_board_player",
    "play_questions",
]
