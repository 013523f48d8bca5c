"""The programs of a role as one archive, named by its content.

Deterministic: the same files make the same bytes on every machine, so an unchanged program
is an unchanged S3 object and no machine is replaced for it.
"""

import gzip
import io
import tarfile
from pathlib import Path

HOSTS = Path(__file__).parent.parent
ROLES = ("load-balancer", "app-server", "database", "monitoring")


def folder(role: str) -> str:
    """The folder, and Python package, of a role."""
    if role not in ROLES:
        raise ValueError(f"there is no role {role!r}: one of {', '.join(ROLES)}")
    return role.replace("-", "_")


def build(role: str) -> bytes:
    """A tar.gz of the package `hosts`: the base and the folder of one role."""
    files = [HOSTS / "__init__.py"]
    for name in ("base", folder(role)):
        files += (path for path in (HOSTS / name).rglob("*") if path.is_file())
    return archive({str(path.relative_to(HOSTS)): path for path in files if _belongs(path)})


def archive(files: dict[str, Path]) -> bytes:
    """A tar.gz of files under the names given, without anything of where it was made."""
    tar_bytes = io.BytesIO()
    with tarfile.open(fileobj=tar_bytes, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(files):
            content = files[name].read_bytes()
            member = tarfile.TarInfo(name)
            member.size = len(content)
            member.mode = 0o755 if files[name].stat().st_mode & 0o100 else 0o644
            tar.addfile(member, io.BytesIO(content))
    return gzip.compress(tar_bytes.getvalue(), compresslevel=9, mtime=0)


def _belongs(path: Path) -> bool:
    return "__pycache__" not in path.parts and not path.name.startswith(".")
