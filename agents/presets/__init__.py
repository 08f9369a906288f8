"""Named runs, as TOML files: `python -m agents train --preset <name>`."""
