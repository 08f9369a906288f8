"""Stands where vLLM's server stands."""

import runpy
from pathlib import Path

if __name__ == "__main__":
    runpy.run_path(str(Path(__file__).parents[4] / "fake_server.py"), run_name="__main__")
