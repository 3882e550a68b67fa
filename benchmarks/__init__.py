"""Measurements against a stated baseline, each in one run."""
