"""Statements for what a PostgreSQL database has and no model makes."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, text

__all__ = ["beyond_models"]

_SPACES: Final = """\
SELECT oid, nspname, CASE nspname WHEN current_schema() THEN '' ELSE quote_ident(nspname) || '.' END
    AS prefix
FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"""
_OWN: Final = (
    "NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = {}.oid AND d.deptype IN ('a', 'e', 'i'))"
)

_FIRST: Final = text(f"""\
WITH spaces AS ({_SPACES})
SELECT 1 AS step, oid, 'CREATE SCHEMA IF NOT EXISTS ' || quote_ident(nspname)
FROM spaces WHERE prefix <> '' AND {_OWN.format("spaces")}

UNION ALL SELECT 2, x.oid, 'CREATE EXTENSION IF NOT EXISTS ' || quote_ident(x.extname)
FROM pg_extension x WHERE x.extname <> 'plpgsql'

UNION ALL SELECT 3, c.oid, 'CREATE SEQUENCE ' || s.prefix || quote_ident(c.relname)
    || ' AS ' || format_type(q.seqtypid, NULL) || ' START ' || q.seqstart
    || ' INCREMENT ' || q.seqincrement || ' MINVALUE ' || q.seqmin || ' MAXVALUE ' || q.seqmax
    || ' CACHE ' || q.seqcache || CASE WHEN q.seqcycle THEN ' CYCLE' ELSE '' END
FROM pg_class c JOIN spaces s ON s.oid = c.relnamespace JOIN pg_sequence q ON q.seqrelid = c.oid
WHERE {_OWN.format("c")}

-- The body of a function may name tables, which are made later.
UNION ALL SELECT 4, 0, 'SET LOCAL check_function_bodies = off'
WHERE EXISTS (
    SELECT FROM pg_proc f JOIN spaces s ON s.oid = f.pronamespace
    WHERE f.prokind <> 'a' AND {_OWN.format("f")}
)

UNION ALL SELECT 5, f.oid, pg_get_functiondef(f.oid)
FROM pg_proc f JOIN spaces s ON s.oid = f.pronamespace
WHERE f.prokind <> 'a' AND {_OWN.format("f")}
ORDER BY 1, 2""")

_LAST: Final = text(f"""\
WITH spaces AS ({_SPACES})
SELECT 1 AS step, c.oid,
    CASE c.relkind WHEN 'v' THEN 'CREATE VIEW ' ELSE 'CREATE MATERIALIZED VIEW ' END
    || s.prefix || quote_ident(c.relname)
    || coalesce(' WITH (' || array_to_string(c.reloptions, ', ') || ')', '')
    || ' AS ' || pg_get_viewdef(c.oid)
FROM pg_class c JOIN spaces s ON s.oid = c.relnamespace
WHERE c.relkind IN ('v', 'm') AND {_OWN.format("c")}

UNION ALL SELECT 2, i.indexrelid, pg_get_indexdef(i.indexrelid)
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN spaces s ON s.oid = c.relnamespace
WHERE c.relkind = 'm'

UNION ALL SELECT 3, g.oid, pg_get_triggerdef(g.oid)
FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid JOIN spaces s ON s.oid = c.relnamespace
WHERE NOT g.tgisinternal AND g.tgparentid = 0

UNION ALL SELECT 4, r.oid, pg_get_ruledef(r.oid)
FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class JOIN spaces s ON s.oid = c.relnamespace
WHERE r.rulename <> '_RETURN'
ORDER BY 1, 2""")


def beyond_models(connection: Connection) -> tuple[Sequence[str], Sequence[str]]:
    """Schemas, extensions, sequences and functions; then views, triggers and rules."""
    first, last = (connection.execute(query).all() for query in (_FIRST, _LAST))
    return [sql for _, _, sql in first], [sql.rstrip(";") for _, _, sql in last]
