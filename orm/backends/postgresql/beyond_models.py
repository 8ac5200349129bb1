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

-- What follows may need each other, in the order in which it was made.
UNION ALL SELECT 5, f.oid, pg_get_functiondef(f.oid)
FROM pg_proc f JOIN spaces s ON s.oid = f.pronamespace
WHERE f.prokind <> 'a' AND {_OWN.format("f")}

UNION ALL SELECT 5, c.oid, 'CREATE COLLATION ' || s.prefix || quote_ident(c.collname)
    || ' (PROVIDER = ' || CASE c.collprovider
        WHEN 'c' THEN 'libc, LC_COLLATE = ' || quote_literal(c.collcollate)
            || ', LC_CTYPE = ' || quote_literal(c.collctype)
        ELSE CASE c.collprovider WHEN 'i' THEN 'icu' ELSE 'builtin' END || ', LOCALE = '
            -- It has had three names so far.
            || quote_literal(coalesce(j ->> 'colllocale', j ->> 'colliculocale', c.collcollate))
            || coalesce(', RULES = ' || quote_literal(j ->> 'collicurules'), '')
    END || CASE WHEN c.collisdeterministic THEN '' ELSE ', DETERMINISTIC = false' END || ')'
FROM pg_collation c JOIN spaces s ON s.oid = c.collnamespace, to_jsonb(c) AS j
WHERE {_OWN.format("c")}

UNION ALL SELECT 5, t.oid, 'CREATE DOMAIN ' || s.prefix || quote_ident(t.typname)
    || ' AS ' || format_type(t.typbasetype, t.typtypmod)
    || CASE WHEN t.typcollation NOT IN (0, b.typcollation)
        THEN ' COLLATE ' || t.typcollation::regcollation::text ELSE '' END
    || coalesce(' DEFAULT ' || t.typdefault, '')
    || CASE WHEN t.typnotnull THEN ' NOT NULL' ELSE '' END
    || coalesce((
        SELECT string_agg(
            ' CONSTRAINT ' || quote_ident(o.conname) || ' ' || pg_get_constraintdef(o.oid), ''
            ORDER BY o.conname
        )
        FROM pg_constraint o WHERE o.contypid = t.oid AND o.contype = 'c'
    ), '')
FROM pg_type t JOIN spaces s ON s.oid = t.typnamespace JOIN pg_type b ON b.oid = t.typbasetype
WHERE t.typtype = 'd' AND {_OWN.format("t")}

UNION ALL SELECT 5, t.oid, 'CREATE TYPE ' || s.prefix || quote_ident(t.typname) || ' AS (' || (
        SELECT string_agg(
            quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod)
            || CASE WHEN a.attcollation NOT IN (0, b.typcollation)
                THEN ' COLLATE ' || a.attcollation::regcollation::text ELSE '' END,
            ', ' ORDER BY a.attnum
        )
        FROM pg_attribute a JOIN pg_type b ON b.oid = a.atttypid
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    ) || ')'
FROM pg_type t JOIN spaces s ON s.oid = t.typnamespace JOIN pg_class c ON c.oid = t.typrelid
WHERE t.typtype = 'c' AND c.relkind = 'c' AND {_OWN.format("t")}

UNION ALL SELECT 5, t.oid, 'CREATE TYPE ' || s.prefix || quote_ident(t.typname)
    || ' AS RANGE (SUBTYPE = ' || format_type(r.rngsubtype, NULL) || ')'
FROM pg_type t JOIN spaces s ON s.oid = t.typnamespace JOIN pg_range r ON r.rngtypid = t.oid
WHERE {_OWN.format("t")}

-- An enum comes with the first table that has it, if nothing needs it before.
UNION ALL SELECT 5, t.oid, 'CREATE TYPE ' || s.prefix || quote_ident(t.typname) || ' AS ENUM ('
    || (
        SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder)
        FROM pg_enum e WHERE e.enumtypid = t.oid
    ) || ')'
FROM pg_type t JOIN spaces s ON s.oid = t.typnamespace
WHERE t.typtype = 'e' AND {_OWN.format("t")} AND (
    NOT EXISTS (
        SELECT FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        WHERE a.atttypid IN (t.oid, t.typarray) AND c.relkind IN ('r', 'p')
    )
    OR EXISTS (
        SELECT FROM pg_depend d LEFT JOIN pg_class c
            ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
        WHERE d.refclassid = 'pg_type'::regclass AND d.refobjid IN (t.oid, t.typarray)
        AND d.deptype = 'n' AND (
            d.classid IN ('pg_type'::regclass, 'pg_proc'::regclass) OR c.relkind = 'c'
        )
    )
)

UNION ALL SELECT 5, t.oid, 'CREATE TEXT SEARCH DICTIONARY ' || s.prefix || quote_ident(t.dictname)
    || ' (TEMPLATE = ' || quote_ident(n.nspname) || '.' || quote_ident(p.tmplname)
    || coalesce(', ' || t.dictinitoption, '') || ')'
FROM pg_ts_dict t JOIN spaces s ON s.oid = t.dictnamespace
JOIN pg_ts_template p ON p.oid = t.dicttemplate JOIN pg_namespace n ON n.oid = p.tmplnamespace
WHERE {_OWN.format("t")}

UNION ALL SELECT 5, f.oid, 'CREATE TEXT SEARCH CONFIGURATION ' || s.prefix || quote_ident(f.cfgname)
    || ' (PARSER = ' || quote_ident(n.nspname) || '.' || quote_ident(p.prsname) || ')'
FROM pg_ts_config f JOIN spaces s ON s.oid = f.cfgnamespace
JOIN pg_ts_parser p ON p.oid = f.cfgparser JOIN pg_namespace n ON n.oid = p.prsnamespace
WHERE {_OWN.format("f")}

UNION ALL SELECT 6, f.oid, 'ALTER TEXT SEARCH CONFIGURATION ' || s.prefix || quote_ident(f.cfgname)
    || ' ADD MAPPING FOR ' || k.alias || ' WITH '
    || string_agg(m.mapdict::regdictionary::text, ', ' ORDER BY m.mapseqno)
FROM pg_ts_config f JOIN spaces s ON s.oid = f.cfgnamespace
JOIN pg_ts_config_map m ON m.mapcfg = f.oid
JOIN ts_token_type(f.cfgparser) AS k ON k.tokid = m.maptokentype
WHERE {_OWN.format("f")}
GROUP BY f.oid, s.prefix, f.cfgname, m.maptokentype, k.alias
ORDER BY 1, 2, 3""")

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
    """Schemas, extensions, sequences, functions, types, collations and text search; then views,
    triggers and rules."""
    first, last = (connection.execute(query).all() for query in (_FIRST, _LAST))
    return [sql for _, _, sql in first], [sql.rstrip(";") for _, _, sql in last]
