"""What the library is for, to be seen: ``orm demo``. Needs the extra ``demo``."""
