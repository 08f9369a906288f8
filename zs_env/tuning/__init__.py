"""Making a fine-tuned simulator: collect, label, build, train, gate; of any domain, and quantised."""

from __future__ import annotations
