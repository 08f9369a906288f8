"""The board's page: one HTML file that holds all but the transcripts, which stand beside it and load on demand."""

from benchmarks.leaderboard.page.writing import render_episodes, render_page

__all__ = ["render_episodes", "render_page"]
