"""The blueprints: what is asked with a token (data, quality) and what is not (pages)."""
