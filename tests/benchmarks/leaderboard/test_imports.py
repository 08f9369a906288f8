import subprocess
import sys

CODE = """
import sys
from benchmarks.leaderboard import comparing, gap, validating
from benchmarks.leaderboard.suites import load_set, load_suite
load_set(load_suite("atlas").sets[0], limit=3)
print([name for name in ("torch", "transformers", "ray", "datasets") if name in sys.modules])
"""


def test_suites_and_records_load_no_model_library():
    told = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
