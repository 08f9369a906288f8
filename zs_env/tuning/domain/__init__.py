"""Simulators of any domain."""
