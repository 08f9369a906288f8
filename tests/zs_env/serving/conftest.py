"""What isn't to be collected here."""

collect_ignore = ["stubs"]  # stand-ins for packages, whose names would hide that the real ones aren't installed
