"""The landing zone: which files there are, what they hold, and how they get into the database."""
