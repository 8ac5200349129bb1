"""A long run of migrations without the garbage collector's looking at all else again and again."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["set_aside"]


@contextmanager
def set_aside() -> Iterator[None]:
    """Inside the block only what is made in it is looked at for garbage.

    Revisions make many objects that live for a while, each thousand of which would have all that
    the process holds looked at: a seventh of the time of a thousand revisions. Garbage that is
    there already waits for the end of the block.
    """
    if gc.get_freeze_count():
        yield  # the application has set things aside for good, before it forks, say
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
