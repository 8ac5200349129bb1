"""The ledger of a database: which revisions were applied, and whether the files agree with it."""
