"""Models that change: drawn at random, with rows, and migrated by the library itself.

A pair of models (A, B) is data that Hypothesis draws and shrinks (`draw`). It is written as Python
source, as an application would have it (`schema`), and taken through ``create``, ``apply`` and
``check`` (`trial`). Either all of B is there afterwards with every value that it can hold, or the
library has refused with a sentence. ``tests/migrations/test_evolution.py`` runs a few; run more::

    python -m tests.harness.evolution --engine sqlite --pairs 5000 --seed 1
"""
