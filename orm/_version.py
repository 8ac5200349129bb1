"""The version of the distribution that is installed."""

from importlib.metadata import version
from typing import Final

__all__ = ["__version__"]

__version__: Final[str] = version("bookmark-orm")
