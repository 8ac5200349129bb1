"""What revisions make, what models say, what a database has: and what to write about it."""
