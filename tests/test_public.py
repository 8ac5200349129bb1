"""The public surface, name by name: it grows on purpose only."""

import orm
import orm.exceptions
import orm.telemetry
import orm.testing
import orm.web
import orm.web.fastapi
import orm.web.litestar


def test_names_of_the_package() -> None:
    assert sorted(orm.__all__) == [
        "Base",
        "Bookmark",
        "BookmarkConnection",
        "BookmarkSession",
        "Chain",
        "Database",
        "InvalidBookmark",
        "NotCaughtUp",
        "OrmError",
        "ReadOnlyError",
        "Reason",
        "Replica",
        "Route",
        "ServerStatus",
        "WriteLost",
        "__version__",
        "by_dns",
    ]
    assert all(hasattr(orm, name) for name in orm.__all__)


def test_every_error_of_ours_is_an_orm_error_and_drawn_in_the_tree() -> None:
    for name in orm.exceptions.__all__:
        assert issubclass(getattr(orm.exceptions, name), orm.OrmError)
        assert name in (orm.exceptions.__doc__ or "")


def test_names_for_tests() -> None:
    assert sorted(orm.testing.__all__) == [
        "Follower",
        "ReplicaControl",
        "Servers",
        "caught_up",
        "followers",
        "paused",
        "reads_from",
        "replicas",
    ]


def test_names_for_the_web() -> None:
    assert sorted(orm.web.__all__) == [
        "BookmarkCookie",
        "BookmarkMiddleware",
        "RequestBookmarks",
        "health",
        "lifespan",
        "status_page",
    ]
    assert sorted(orm.web.fastapi.__all__) == ["RequestSession", "request_session"]
    assert sorted(orm.web.litestar.__all__) == ["BookmarkPlugin", "RequestSession"]
    assert orm.telemetry.__all__ == ["log_routes"]
