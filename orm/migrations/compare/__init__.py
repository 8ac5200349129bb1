"""Revisions, models and databases compared, and what follows: new revisions, reviews, their SQL."""
