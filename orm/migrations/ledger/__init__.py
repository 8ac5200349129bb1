"""The ledger: which revisions a database has, and whether the files agree with it."""
