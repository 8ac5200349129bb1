"""Trials: clients read and write on real servers while faults are injected, and all is checked.

Longer runs than the test suite's have a command::

    python -m tests.harness.trials --seed 1 --operations 100000
    python -m tests.harness.trials --postgresql --only promote
"""
