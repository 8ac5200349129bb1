"""A revision names SQLAlchemy's types only, and runs without the models and their packages."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.migrations.support import ENGINES, Project
from tests.migrations.test_judge import MAIN, created

pytestmark = pytest.mark.slow  # each replays and applies revisions

EVERY = """
import inspect
from sqlalchemy import types
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

NEEDED = {"item_type": Integer(), "data_type": Integer(), "name": "of_integers"}

def every_type(engine):
    for module in (types, postgresql, sqlite):
        for name in sorted(dir(module)):
            cls = getattr(module, name)
            if not (inspect.isclass(cls) and issubclass(cls, types.TypeEngine)):
                continue
            if inspect.isabstract(cls) or name.startswith("_"):
                continue
            try:
                if issubclass(cls, Enum):
                    made = cls("a", "it's", name=f"labels_{cls.__name__}")
                else:
                    parameters = inspect.signature(cls.__init__).parameters.values()
                    made = cls(*(
                        NEEDED[p.name] for p in parameters
                        if p.default is p.empty and p.name in NEEDED
                    ))
                made.compile(dialect=engine)
            except (SQLAlchemyError, AssertionError, AttributeError, NotImplementedError):
                continue  # no type of a column, or none of this engine
            yield f"{module.__name__.rpartition('.')[2]}.{name}", made
"""
TABLE = """
from sqlalchemy.dialects.{engine} import dialect
for number, (name, made) in enumerate(every_type(dialect())):
    if name.rpartition(".")[2] not in {without}:
        key = Column("id", Integer, primary_key=True)
        Table(f"t{{number}}", metadata, key, Column("it", made))
"""
MISSING = {  # SQLAlchemy has a word for it, and the server no such type
    "sqlite": [],
    "postgresql": "BINARY BLOB CITEXT CLOB DATETIME DOUBLE HSTORE NVARCHAR VARBINARY".split(),
}


@ENGINES
def test_every_type_of_sqlalchemy(project: Project) -> None:
    engine = project.url.partition("+")[0]
    project.models(EVERY + TABLE.format(engine=engine, without=MISSING[engine]))
    code, made, said = created(project, "every type")
    assert code == 0, said
    assert made["left"] == []
    text = Path(made["path"]).read_text()
    assert text.count("create_table(") > 70
    assert "orm" not in text.partition("def upgrade")[0]
    project.upgrade("orm")
    assert project.orm("check", "--local").exit_code == 0
    assert created(project, "again")[1] is None


STRANGE = """
import enum
from sqlalchemy import *
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import UserDefinedType

class Guid(TypeDecorator):
    impl = CHAR
    cache_ok = True

    def load_dialect_impl(self, dialect):
        native = postgresql.UUID() if dialect.name == "postgresql" else CHAR(36)
        return dialect.type_descriptor(native)

class AutoString(TypeDecorator):
    impl = String
    cache_ok = True

class Email(AutoString):
    def __init__(self):
        super().__init__(length=320)

class OfAnother(TypeDecorator):
    impl = Guid
    cache_ok = True

class Money(Numeric):
    def __init__(self):
        super().__init__(12, 2)

class Box(UserDefinedType):
    cache_ok = True

    def __init__(self, size):
        self.size = size

    def get_col_spec(self, **_):
        return f"varbit({self.size})"

class Moment(DateTime):
    pass

@compiles(Moment, "postgresql")
def _(element, compiler, **_):
    return "timestamp(3) with time zone"

class Body(Text):
    pass

@compiles(Body, "mysql")
def _(element, compiler, **options):
    return "VARCHAR(512)" if options["type_expression"].unique else "LONGTEXT"

class Mood(enum.Enum):
    good = "g"
    bad = "it's"

class Status(str, enum.Enum):
    new = "new"
    old = "it's old"

class now_utc(FunctionElement):
    type = DateTime()
    inherit_cache = True

@compiles(now_utc, "postgresql")
def _(element, compiler, **_):
    return "TIMEZONE('utc', CURRENT_TIMESTAMP)"

@compiles(now_utc, "sqlite")
def _(element, compiler, **_):
    return "strftime('%Y-%m-%d', 'now')"
"""
MODELS = """
from strange import *
Table(
    "things",
    metadata,
    Column("id", Guid(), primary_key=True),
    Column("other", OfAnother()),
    Column("name", AutoString(50), server_default="it's 100 %, :or ' not'"),
    Column("email", Email(), nullable=False, unique=True),
    Column("price", Money(), server_default=text("1.50")),
    Column("box", Box(8)),
    Column("moment", Moment()),
    Column("body", Body()),
    Column("mood", Enum(Mood, values_callable=lambda e: [m.value for m in e], name="mood")),
    Column("fine", Boolean(create_constraint=True, name="fine"), server_default=true()),
    Column("status", Enum(Status, name="status"), server_default=Status.new),
    Column("text", String(9), server_default=Status.old),
    Column("member", Enum(*Status, native_enum=False), server_default=Status.old),
    Column("kind", Enum("a", "b", native_enum=False, create_constraint=True, name="kind")),
    Column("both", Enum("a", "b", create_constraint=True, name="both")),
    Column("json", JSON().with_variant(postgresql.JSONB(), "postgresql"), server_default="{}"),
    Column("big", BigInteger().with_variant(Integer(), "sqlite")),
    Column("made", DateTime(), server_default=now_utc(), nullable=False),
    Column("twice", Integer(), Computed("big * 2", persisted=True)),
    CheckConstraint("name <> '\\\\:x' AND email LIKE '%@%'"
        " AND name <> 'a\\\\\\\\:b'", name="named"),
    CheckConstraint(func.length(column("name")) > 1, name="long"),
    Index("ix_lower", func.lower(column("email"))),
    Index("ix_part", "price", sqlite_where=text("name = '\\\\:x'"),
        postgresql_where=text("name = '\\\\:x'")),
    info={"class": Guid},
)
"""


@ENGINES
def test_it_runs_without_the_models_and_their_packages(project: Project) -> None:
    strange = project.folder / "strange.py"
    strange.write_text(STRANGE)
    (project.folder / "models.py").write_text("from strange import *\n")
    project.models(MODELS)
    code, made, said = created(project, "things")
    assert code == 0, said
    assert made["left"] == []
    text = Path(made["path"]).read_text()
    assert "strange" not in text
    assert "Guid" not in text
    assert json.loads(project.orm("check", "--json").stdout) == []
    assert created(project, "again")[1] is None

    strange.unlink()
    project.models("")
    done = subprocess.run(
        [sys.executable, "-c", MAIN, "migrations", "apply", "--local", "--yes"],
        cwd=project.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    sys.modules.pop("strange", None)
    values = "('7', 'a b', 'a@b', 1.5, 'a', 21, 'b')"
    project.query(
        'INSERT INTO things (id, name, email, price, kind, big, "both") VALUES '
        + values.replace("'7'", "'00000000-0000-0000-0000-000000000007'")
    )
    assert project.query("SELECT twice, json FROM things")[0][0] == 42
