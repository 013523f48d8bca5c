"""What the application servers get: somebody's folder with its requirements, as one archive.

Named by its content and built only once for it, under `.build/`: an unchanged application costs
nothing and needs no network. No machine needs a package index to start it.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, PathDistribution
from pathlib import Path

import pulumi
import uv

from components import settings
from hosts.base.bundle import archive

PROJECT = Path()
"""Of the program: Pulumi runs it in its own folder, wherever this package is."""
BUILD = PROJECT / ".build"
VENDORED = "site-packages"

# The C library of Ubuntu 24.04 and everything newer.
_PLATFORMS = {"x86_64": "x86_64-manylinux_2_39", "arm64": "aarch64-manylinux_2_39"}
_PINNED = re.compile(
    r"(?P<name>[A-Za-z0-9][\w.-]*)\s*(\[[^]]*\])?\s*===?\s*[^\s*,;]+\s*(;.*)?(--hash.*)?"
)
# Scripts with the path of somebody's Python, and uv's notes on when and where it installed.
_NOT_SHIPPED = {"bin", "RECORD", "REQUESTED", "INSTALLER", "uv_cache.json"}


def release(folder: str, module: str, machines: settings.Machines) -> bytes:
    """The archive (tar.gz) of an application: its files, and its requirements in `site-packages/`.

    Raises:
        pulumi.RunError: there is no such folder or module, or its requirements cannot be had.
    """
    root = _root(folder)
    files = {str(path.relative_to(root)): path for path in _files(root)}
    vendored = _vendored(folder, root, machines)
    files |= {f"{VENDORED}/{path.relative_to(vendored)}": path for path in _shipped(vendored)}
    _check_module(folder, module, files)
    built = BUILD / "releases" / f"{_digest(files)}.tar.gz"
    if not built.exists():
        built.parent.mkdir(parents=True, exist_ok=True)
        partial = built.with_suffix(f".{os.getpid()}")
        partial.write_bytes(archive(files))
        partial.replace(built)
    return built.read_bytes()


def _root(folder: str) -> Path:
    root = (PROJECT / folder).resolve()
    if not root.is_dir():
        raise _refusal(f"site:appServers.folder is {folder!r}, but there is no folder {root}.")
    if (root / VENDORED).exists():
        raise _refusal(
            f"{folder} has a {VENDORED} of its own: requirements belong into"
            f" {folder}/requirements.txt, from which it is made."
        )
    return root


def _refusal(what: str) -> pulumi.RunError:
    return pulumi.RunError(
        f"{what} The folder of the application and the module in it are set with"
        " `pulumi config set --path site:appServers.folder …` and `… site:appServers.module …`."
    )


def _files(folder: Path) -> Iterator[Path]:
    """Everything but hidden files, byte code and virtual environments."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name == "__pycache__":
            continue
        if path.is_dir():
            if not path.is_symlink() and not (path / "pyvenv.cfg").exists():
                yield from _files(path)
        elif path.is_file():
            yield path


def _shipped(vendored: Path) -> Iterator[Path]:
    return (p for p in _files(vendored) if not _NOT_SHIPPED & {*p.relative_to(vendored).parts})


def _check_module(folder: str, module: str, files: dict[str, Path]) -> None:
    path = module.partition(":")[0].replace(".", "/")
    candidates = {
        f"{at}{path}{end}" for at in ("", f"{VENDORED}/") for end in (".py", "/__init__.py")
    }
    if not candidates & files.keys():
        raise _refusal(
            f"site:appServers.module is {module!r}, but {folder} has neither {path}.py nor"
            f" {path}/__init__.py."
        )


def _digest(files: dict[str, Path]) -> str:
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        executable = bool(path.stat().st_mode & 0o100)
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{name}\0{executable}\0{content}\n".encode())
    return digest.hexdigest()


def _vendored(folder: str, root: Path, machines: settings.Machines) -> Path:
    """The folder with the requirements as installed for the machines' Python; made if need be."""
    file = root / "requirements.txt"
    text = file.read_text() if file.exists() else ""
    names = pinned_names(f"{folder}/requirements.txt", text)
    platform = _PLATFORMS[machines.architecture]
    what = f"{machines.python}\n{platform}\n{text}"
    target = BUILD / "vendored" / hashlib.sha256(what.encode()).hexdigest()
    if not target.exists():
        partial = target.with_suffix(f".{os.getpid()}")
        partial.mkdir(parents=True)
        try:
            if names:
                _install(f"{folder}/requirements.txt", file, partial, machines.python, platform)
            _refuse_unnamed(f"{folder}/requirements.txt", names, partial)
            partial.replace(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return target


def pinned_names(where: str, text: str) -> set[str]:
    """The requirements' names, normalized; each has to be pinned."""
    names: set[str] = set()
    for line in text.replace("\\\n", " ").splitlines():
        requirement = re.sub(r"(^|\s)#.*", "", line).strip()
        if not requirement:
            continue
        pinned = _PINNED.fullmatch(requirement)
        if not pinned:
            msg = (
                f"{where} has {requirement!r}; every requirement has to be pinned, as in"
                f" flask==3.1.3. `uv pip freeze` lists what you tried it with."
            )
            raise pulumi.RunError(msg)
        names.add(_normal(pinned["name"]))
    return names


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _install(where: str, file: Path, target: Path, python: str, platform: str) -> None:
    run = subprocess.run(
        [
            *(uv.find_uv_bin(), "pip", "install", "--quiet", "--no-config"),
            *("--python", sys.executable, "--python-version", python),
            *("--python-platform", platform, "--only-binary", ":all:"),
            *("--link-mode", "copy", "--target", str(target), "--requirements", str(file)),
        ],
        env=os.environ | {"UV_PYTHON_DOWNLOADS": "never"},
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        reason = " ".join(run.stderr.split())
        msg = f"{where} cannot be had as wheels for Python {python} on {platform}: {reason}"
        raise pulumi.RunError(msg)


def _refuse_unnamed(where: str, names: set[str], installed: Path) -> None:
    """What requirements need in turn has to be pinned too, or tomorrow's release is another one."""
    distributions: list[Distribution] = [
        PathDistribution(path) for path in installed.glob("*.dist-info")
    ]
    unnamed = sorted(
        f"{d.name}=={d.version}" for d in distributions if _normal(d.name) not in names
    )
    if unnamed:
        msg = f"{where} does not pin all that it needs. Add: {', '.join(unnamed)}."
        raise pulumi.RunError(msg)
