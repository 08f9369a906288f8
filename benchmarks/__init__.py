"""Measuring: commands that anyone can run, and records of what they saw. `python -m benchmarks --help` lists them."""
