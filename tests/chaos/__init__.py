"""Builds that fail and are killed while clients read."""
