"""Revision files: what they say, their numbers, and the one line that they make."""
