"""What is known of the servers of one database, and how that is kept fresh."""
