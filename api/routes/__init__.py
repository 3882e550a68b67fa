"""The blueprints: what is asked with a token (data) and what is not (pages)."""
