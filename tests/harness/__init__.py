"""What only this project's own tests use: a simulator, and trials with faults."""
