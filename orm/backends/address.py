"""Where a URL leads: whether it can be an address at all."""

from typing import Final

from sqlalchemy import URL

from orm.exceptions import ConfigurationError

__all__ = ["checked"]

_PORTS: Final = range(65536)


def checked(url: URL) -> URL:
    """A URL whose host and port can be ones: what else is in their place is not looked up.

    Raises:
        ConfigurationError: they cannot. It does not quote them, since what SQLAlchemy takes for the
            host may be the end of a password.
    """
    if "@" in (url.host or ""):
        raise ConfigurationError(
            f"the {url.get_backend_name()} URL has an @ in its user name or password: write %40 in "
            "its place"
        )
    if url.port is not None and url.port not in _PORTS:
        raise ConfigurationError(
            f"the {url.get_backend_name()} URL names port {url.port}: the highest one is "
            f"{_PORTS[-1]}"
        )
    return url
