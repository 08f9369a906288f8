"""`python -m agents`."""

import os
import sys

from agents.cli import main

code = main()
if code in (130, 143):
    # Stopped by Ctrl-C or SIGTERM: threads that still generate are not waited for.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
sys.exit(code)
