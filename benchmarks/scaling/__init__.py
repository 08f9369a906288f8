"""A training step on one and two processes beside what its parts, each measured alone, predict."""

from benchmarks.scaling.command import SCHEMA, add_parser, run

__all__ = ["SCHEMA", "add_parser", "run"]
