"""A replica as the user gives it."""

from dataclasses import dataclass

from sqlalchemy import URL

from orm._given import name
from orm._numbers import number

__all__ = ["Replica"]


@dataclass(frozen=True, slots=True)
class Replica:
    """A replica, and what its URL does not say.

    Args:
        url: with an async driver.
        name: by which status, routes and logs call it. Without one it is called by its host, and
            by the port that the URL has; ``"replica-1"``, … if it has no host.
        zone: where it is, such as a region; see ``zones`` of `orm.Database`.
        weight: how much it can do, compared with others: one of weight 2 is chosen until a read
            takes twice as long there.

    Raises:
        ConfigurationError: the weight is not over 0, or the name or the zone is no text.
    """

    url: str | URL
    name: str | None = None
    zone: str | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        number("the weight of a replica", self.weight)
        for what, given in (("name", self.name), ("zone", self.zone)):
            if given is not None:
                name(f"the {what} of a replica", given)
