"""What replicas are for: reads that the primary is spared, and what that costs in stale reads."""
