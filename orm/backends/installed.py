"""Whether a driver is installed."""

from importlib import import_module

from sqlalchemy import URL

from orm.exceptions import ConfigurationError

__all__ = ["require_driver"]


def require_driver(url: URL) -> None:
    """Refuse a URL whose driver, one of those that this library has an extra for, is missing.

    Raises:
        ConfigurationError: it cannot be imported.
    """
    driver = url.get_driver_name()
    try:
        import_module(driver)
    except ImportError as error:
        raise ConfigurationError(
            f"{url.drivername}:// needs {driver}, which cannot be imported ({error}): "
            f"pip install 'bookmark-orm[{driver}]'"
        ) from error
