"""What the tests of backups share: an S3 in this process, and databases from the image."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from botocore.config import Config
from moto import mock_aws

from hosts.database.backup import server, store
from hosts.database.backup.catalog import Full, Verdict
from hosts.database.backup.dump import dump
from hosts.database.backup.restore import Restore, restore
from hosts.database.backup.ship import Shipper
from hosts.database.backup.store import Store
from hosts.database.backup.verify import verify
from tests.hosts.real_mysqld import Mysqld, blank, programs

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

REGION = "eu-central-1"
LINE = "database"


class World:
    """A bucket, and servers that are ended with the test."""

    def __init__(self, folder: Path, blank: Path, s3: "S3Client", name: str) -> None:
        self.folder = folder
        self.s3 = s3
        self.s3.create_bucket(
            Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
        )
        self.store = Store(s3, name)
        self.said: list[str] = []
        self._blank = blank
        self._servers: list[Mysqld] = []

    def server(self, *options: str) -> Mysqld:
        """A new one, with nothing in it."""
        number = len(self._servers) + 1
        made = Mysqld(self.folder / f"mysqld-{number}", self._blank, number)
        self._servers.append(made)
        return made.start(*options)

    def primary(self) -> Mysqld:
        """One with a table of the site's."""
        made = self.server()
        made.run(
            "CREATE USER replication@'%' IDENTIFIED BY 'secret'",
            "GRANT REPLICATION SLAVE ON *.* TO replication@'%'",
            "CREATE USER application@'%' IDENTIFIED BY 'secret' REQUIRE SSL",
            "CREATE DATABASE site",
            "GRANT SELECT, INSERT ON site.* TO application@'%'",
            "CREATE TABLE site.entries (id INT AUTO_INCREMENT PRIMARY KEY, what VARCHAR(99))",
        )
        return made

    def replica_of(self, other: Mysqld) -> Mysqld:
        """One that replicates from another."""
        made = self.server()
        made.follow(other)
        made.caught_up(other)
        return made

    def full(self, mysqld: Mysqld) -> Full:
        """A full backup that was verified."""
        made = dump(mysqld.socket, self.store, LINE, "database-2", self.said.append)
        verdict = self.verify(made)
        assert verdict.good, verdict.detail
        return made

    def verify(self, full: Full) -> Verdict:
        return verify(self.store, full, self.folder / "scratch", "database-2", self.said.append)

    def shipper(self, mysqld: Mysqld) -> Shipper:
        return Shipper(self.store, LINE, f"database-{mysqld.number}", mysqld.data)

    def ship(self, mysqld: Mysqld) -> int:
        """All that a server wrote."""
        with mysqld.session() as session:
            return self.shipper(mysqld).ship(session)

    def restore(
        self, to: str, mysqld: Mysqld | None = None, name: str = "r1", full: str = ""
    ) -> Mysqld:
        """Into a new server, or this one."""
        target = mysqld or self.server()
        wanted = Restore(id=name, to=to, bucket=self.store.bucket, line=LINE, full=full)
        restore(self.store, wanted, target.socket, target.folder, self.said.append)
        return target

    def keys(self) -> list[str]:
        return [found.key for found in self.store.list("")]

    def end(self) -> None:
        for one in self._servers:
            one.kill()


@pytest.fixture(scope="session")
def blank_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The image's programs on PATH, and a database with nothing in it."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("mysqld")
        patch.setenv("PATH", str(programs(folder / "bin")), prepend=":")
        yield blank(folder)


@pytest.fixture
def world(blank_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(blank_database.parent / "bin"), prepend=":")
    monkeypatch.setattr(server, "USER", "root")  # there is no user `mysql` here
    soon = Config(retries={"mode": "standard", "total_max_attempts": 2})
    monkeypatch.setattr(store, "_CONFIG", soon)
    with mock_aws():
        made = World(tmp_path / "w", blank_database, store.client(REGION), "backups")
        made.folder.mkdir()
        yield made
        made.end()
