"""Revision files: reading them, their numbers, and the one line that they make."""
