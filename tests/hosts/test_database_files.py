"""The certificate, the accounts and the volume of a database machine."""

import shutil
import ssl
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from components import new_secret
from hosts.base import parameters, services
from hosts.database import accounts, certificate, volume


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An authority as the program makes one: key and certificate in PEM."""
    monkeypatch.setattr(parameters, "FOLDER", tmp_path / "run")

    def chown(*_: object) -> None:
        """There is no user `mysql` here."""

    monkeypatch.setattr(shutil, "chown", chown)
    key, made = tmp_path / "ca.key", tmp_path / "ca.crt"
    # fmt: off
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-keyout", key, "-out", made, "-days", "30", "-subj", "/CN=authority",
         "-addext", "keyUsage=critical,keyCertSign"],
        check=True, capture_output=True,
    )
    # fmt: on
    return key.read_text() + made.read_text()


def names(file: Path) -> str:
    shown = ["openssl", "x509", "-in", file, "-noout", "-ext", "subjectAltName"]
    return subprocess.run(shown, check=True, capture_output=True, text=True).stdout


def make(authority: str, folder: Path) -> None:
    certificate.make(
        authority, ["database-1.lab.site.internal", "localhost"], ["10.0.1.5", "127.0.0.1"], folder
    )


def test_the_certificate_names_the_machine_in_every_way_it_is_asked_for(
    authority: str, tmp_path: Path
) -> None:
    make(authority, tmp_path / "tls")
    said = names(tmp_path / "tls/server.pem")
    for name in ("DNS:database-1.lab.site.internal", "DNS:localhost"):
        assert name in said
    for address in ("IP Address:10.0.1.5", "IP Address:127.0.0.1"):
        assert address in said


def test_python_accepts_the_certificate_as_strictly_as_it_can(
    authority: str, tmp_path: Path
) -> None:
    folder = tmp_path / "tls"
    make(authority, folder)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.pem")
    client = ssl.create_default_context(cafile=folder / "ca.pem")
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.wrap_bio(to_client, to_server, server_hostname="127.0.0.1")
    other = server.wrap_bio(to_server, to_client, server_side=True)
    done: set[Any] = set()
    for _ in range(6):
        for side in (one, other):
            try:
                side.do_handshake()
                done.add(side)
            except ssl.SSLWantReadError:
                pass
    assert len(done) == 2


def test_the_authoritys_key_is_nowhere_after_it_signed(authority: str, tmp_path: Path) -> None:
    make(authority, tmp_path / "tls")
    assert list((tmp_path / "run").iterdir()) == []
    key = authority.split("-----")[2].strip().splitlines()[0]
    files = list((tmp_path / "tls").iterdir())
    assert sorted(file.name for file in files) == ["ca.pem", "server.pem"]
    for file in files:
        assert key not in file.read_text()


def test_a_good_certificate_is_kept_and_one_of_another_authority_is_not(
    authority: str, tmp_path: Path
) -> None:
    folder = tmp_path / "tls"
    make(authority, folder)
    before = (folder / "server.pem").read_text()
    make(authority, folder)
    assert (folder / "server.pem").read_text() == before
    other = new_secret.certificate_authority()
    make(other, folder)
    assert (folder / "server.pem").read_text() != before
    assert (folder / "ca.pem").read_text() == certificate.certificates(other)


def test_the_authorities_to_trust_may_be_more_than_the_one_that_signs(
    authority: str, tmp_path: Path
) -> None:
    folder, other = tmp_path / "tls", new_secret.certificate_authority()
    both = certificate.certificates(authority) + certificate.certificates(other)
    names, addresses = ["database-1"], ["127.0.0.1"]
    assert certificate.make(authority, names, addresses, folder)
    before = (folder / "server.pem").read_text()
    assert not certificate.make(authority, names, addresses, folder, trusted=both)
    assert (folder / "server.pem").read_text() == before
    assert (folder / "ca.pem").read_text() == both
    assert certificate.make(other, names, addresses, folder, trusted=both)
    assert not certificate.make(other, names, addresses, folder, trusted=other)
    assert (folder / "ca.pem").read_text() == certificate.certificates(other)
    assert "PRIVATE" not in (folder / "ca.pem").read_text()


def test_one_that_ends_soon_is_renewed(
    authority: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(authority, tmp_path / "tls")
    monkeypatch.setattr(certificate, "RENEW", (certificate.DAYS + 1) * 24 * 3600)
    before = (tmp_path / "tls/server.pem").read_text()
    make(authority, tmp_path / "tls")
    assert (tmp_path / "tls/server.pem").read_text() != before


def test_what_is_no_certificate_is_not_trusted(tmp_path: Path) -> None:
    with pytest.raises(certificate.CertificateError, match="a certificate in PEM was expected"):
        certificate.trust("nonsense", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_servers_key_can_be_read_by_nobody_else(authority: str, tmp_path: Path) -> None:
    make(authority, tmp_path / "tls")
    assert (tmp_path / "tls/server.pem").stat().st_mode & 0o777 == 0o440


def test_a_secret_is_never_readable_by_others_not_even_for_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[int] = []
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        modes.append(self.stat().st_mode & 0o777)
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    parameters.write("secret", tmp_path / "password")
    parameters.write("another", tmp_path / "password")
    assert modes == [0o400, 0o400]
    assert (tmp_path / "password").read_text() == "another"


class FakeSession:
    """Keeps the statements; nothing is there yet."""

    def __init__(self) -> None:
        self.statements: list[str] = []

    def rows(self, _statement: str, *_values: object) -> list[Any]:
        return []

    def run(self, statement: str, *values: object) -> None:
        self.statements.append(
            statement % tuple(f"'{value}'" for value in values) if values else statement
        )


def test_each_account_is_granted_what_its_purpose_needs_and_no_more() -> None:
    session: Any = FakeSession()
    passwords = {"application": "a", "replication": "r", "monitor": "m"}
    accounts.ensure(session, "my_site", passwords)
    grants = [statement for statement in session.statements if statement.startswith("GRANT")]
    application = [grant for grant in grants if "'application'" in grant]
    assert all(" ON `my\\_site`.* TO" in grant for grant in application)
    everywhere = [grant for grant in grants if "ON *.*" in grant]
    assert [grant.split(" ON ")[0] for grant in everywhere] == [
        "GRANT REPLICATION SLAVE, BACKUP_ADMIN, CONNECTION_ADMIN",
        "GRANT PROCESS, REPLICATION CLIENT",
    ]
    for forbidden in ("ALL", "SUPER", "GRANT OPTION", "FILE", "SYSTEM_"):
        assert not any(forbidden in grant for grant in grants)
    users = [statement for statement in session.statements if statement.startswith("CREATE USER")]
    assert len(users) == 3
    assert all("REQUIRE SSL" in user and "caching_sha2_password" in user for user in users)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Something that blkid can look at."""
    file = tmp_path / "disk"
    file.touch()
    with file.open("r+b") as opened:
        opened.truncate(64 * 1024 * 1024)
    return file


def test_a_blank_disk_is_blank(disk: Path) -> None:
    assert volume.file_system(str(disk)) == ""


def test_a_disk_with_a_file_system_is_known_by_it(disk: Path) -> None:
    services.run("mkfs.ext4", "-q", "-F", str(disk))
    assert volume.file_system(str(disk)) == "ext4"


def test_a_disk_with_partitions_is_not_blank(disk: Path) -> None:
    with disk.open("r+b") as opened:
        # A master boot record with one Linux partition over the whole disk.
        opened.seek(446)
        opened.write(struct.pack("<B3sB3sII", 0, b"\0\2\0", 0x83, b"\0\2\0", 1, 131071))
        opened.seek(510)
        opened.write(b"\x55\xaa")
    assert volume.file_system(str(disk)) == "dos"


def test_a_disk_with_something_unknown_on_it_is_not_blank(disk: Path) -> None:
    with disk.open("r+b") as opened:
        opened.seek(4096)
        opened.write(b"somebody's own format")
    with pytest.raises(volume.VolumeError, match="unclear"):
        volume.file_system(str(disk))


def test_a_disk_that_cannot_be_read_is_not_blank(tmp_path: Path) -> None:
    with pytest.raises(volume.VolumeError, match="unclear"):
        volume.file_system(str(tmp_path / "none"))


def made_larger(disk: Path, mib: int) -> None:
    with disk.open("r+b") as opened:
        opened.truncate(mib * 1024 * 1024)


@pytest.mark.parametrize("options", [(), ("-O", "^64bit"), ("-b", "1024")])
def test_a_file_system_grows_with_its_disk(disk: Path, options: tuple[str, ...]) -> None:
    made_larger(disk, 256)
    services.run("mkfs.ext4", "-q", "-F", *options, str(disk))
    assert volume.grow(str(disk)) == ""
    made_larger(disk, 1024)
    # Not mounted it wants to be looked through first.
    services.run("e2fsck", "-f", "-p", str(disk))
    assert volume.grow(str(disk)) == f"the file system of {disk} grew from 0.2 to 1.0 GiB"
    assert volume.grow(str(disk)) == ""


def test_a_bit_of_disk_that_is_left_over_is_not_tried_for_ever(disk: Path) -> None:
    made_larger(disk, 256)
    services.run("mkfs.ext4", "-q", "-F", str(disk), "200M")
    assert volume.grow(str(disk)) == ""


def test_more_than_32_bits_of_blocks_are_counted() -> None:
    superblock = bytearray(1024)
    superblock[4:8] = (5).to_bytes(4, "little")
    superblock[24:28] = (2).to_bytes(4, "little")
    superblock[56:58] = volume.EXT4.to_bytes(2, "little")
    superblock[336:340] = (1).to_bytes(4, "little")
    assert volume.file_system_size(bytes(superblock)) == 5 * 4096
    superblock[96:100] = volume.HAS_64_BITS.to_bytes(4, "little")
    assert volume.file_system_size(bytes(superblock)) == (2**32 + 5) * 4096


def test_why_a_file_system_does_not_grow_is_told(
    disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(volume.VolumeError, match="holds no ext4"):
        volume.grow(str(disk))
    with pytest.raises(volume.VolumeError, match=r"the size of .*none is unknown"):
        volume.grow(str(tmp_path / "none"))
    (tmp_path / "short").write_bytes(b"short")
    with pytest.raises(volume.VolumeError, match="shorter than a superblock"):
        volume.grow(str(tmp_path / "short"))
    services.run("mkfs.ext4", "-q", "-F", str(disk))
    made_larger(disk, 512)

    def refused(*command: str, **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, stdout="", stderr="Permission denied")

    monkeypatch.setattr(services, "run", refused)
    with pytest.raises(volume.VolumeError, match=r"resize2fs .*failed: Permission denied"):
        volume.grow(str(disk))


def test_a_half_made_database_is_made_anew_and_a_whole_one_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    unfinished = tmp_path / "data.unfinished"
    calls: list[tuple[str, ...]] = []

    def run(*command: str, **_: Any) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        failed = command[0] == "mysqld" and len(calls) == 1
        if command[0] == "mysqld":
            assert not unfinished.exists(), "mysqld refuses a folder that is not empty"
            unfinished.mkdir()
            (unfinished / "mysql.ibd").touch()
        return subprocess.CompletedProcess(command, int(failed), stdout="", stderr="killed")

    monkeypatch.setattr(services, "run", run)
    monkeypatch.setattr(volume, "INIT", tmp_path / "init.sql")
    with pytest.raises(volume.VolumeError, match="killed"):
        volume.initialise(data)
    assert not data.exists()
    assert unfinished.exists()
    assert volume.initialise(data)
    assert (data / "mysql.ibd").exists()
    assert not volume.initialise(data)
    assert [command[0] for command in calls] == ["mysqld", "mysqld", "sync"]
