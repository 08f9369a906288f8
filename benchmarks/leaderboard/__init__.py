"""The leaderboard: evaluate an agent, keep a record that anyone can check, and see where it stands."""
