"""The lab's own Pulumi home: the CLI with a language host beside it, and the stand-in plugins.

Nothing of the user's is read or written: neither ~/.pulumi nor ~/.aws.
"""

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The repository, where this package is imported from."""

PLUGINS = {"aws": "pulumi_aws", "command": "pulumi_command"}
"""Each plugin, and the package whose version it must have."""

_LOCAL = "127.0.0.1,localhost"


def install(home: Path, cli: Path) -> None:
    """Make `home` a PULUMI_HOME that runs this Python's stand-ins; may be repeated.

    `cli` is the pulumi executable. It is linked or copied, not symlinked: it looks for the language
    host beside the file that it really is.
    """
    bin_folder = home.resolve() / "bin"
    bin_folder.mkdir(parents=True, exist_ok=True)
    _place(cli.resolve(), bin_folder / "pulumi")
    _script(bin_folder / "pulumi-language-python", "lab.engine.language_host")
    for name, package in PLUGINS.items():
        folder = home.resolve() / "plugins" / f"resource-{name}-v{metadata.version(package)}"
        folder.mkdir(parents=True, exist_ok=True)
        _script(folder / f"pulumi-resource-{name}", f"lab.engine.{name}")


def _place(source: Path, target: Path) -> None:
    if target.exists() and target.samefile(source):
        return
    new = target.with_suffix(f".{os.getpid()}")
    try:
        new.hardlink_to(source)
    except OSError:  # another file system
        shutil.copy2(source, new)
    new.replace(target)


def _script(path: Path, module: str) -> None:
    """An executable that runs a module of this repository with this Python, from any folder."""
    start = (
        f"import runpy, sys; sys.path.insert(0, {str(ROOT)!r}); "
        f"runpy.run_module({module!r}, run_name='__main__')"
    )
    text = f'#!/bin/sh\nexec {shlex.join([sys.executable, "-c", start])} "$@"\n'
    if path.exists() and path.read_text() == text:
        return
    new = path.with_suffix(f".{os.getpid()}")
    new.write_text(text)
    new.chmod(0o755)
    new.replace(path)


def environment(
    home: Path,
    state: Path,
    endpoint: str,
    *,
    region: str = "eu-central-1",
    passphrase: str = "lab",  # noqa: S107  protects a made-up cloud on the user's own disk
) -> dict[str, str]:
    """Every variable that `pulumi` and boto3 need to work on the lab and on nothing else.

    `state` is the folder that holds the stacks, `endpoint` the URL of the AWS API.
    """
    state.mkdir(parents=True, exist_ok=True)
    bin_folder = home.resolve() / "bin"
    return {
        "PATH": os.pathsep.join([str(bin_folder), os.environ.get("PATH", os.defpath)]),
        "PULUMI_HOME": str(home.resolve()),
        "PULUMI_BACKEND_URL": state.resolve().as_uri(),
        "PULUMI_CONFIG_PASSPHRASE": passphrase,
        "PULUMI_CREDENTIAL_STORE": "plaintext",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "PULUMI_DISABLE_REGISTRY_RESOLVE": "true",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_ACCESS_KEY_ID": "lab",
        "AWS_SECRET_ACCESS_KEY": "lab",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": _LOCAL,
        "no_proxy": _LOCAL,
    }


def foreign(names: Mapping[str, str], ours: Mapping[str, str]) -> list[str]:
    """Variables of `names` that would lead pulumi or boto3 elsewhere and must be unset."""
    return sorted(
        name for name in names if name.startswith(("AWS_", "PULUMI_")) and name not in ours
    )


def complete(ours: Mapping[str, str], base: Mapping[str, str] | None = None) -> dict[str, str]:
    """A whole environment: `base` (this process's own) with `ours` in place of the user's."""
    start = os.environ if base is None else base
    unwanted = set(foreign(start, ours))
    return {**{key: value for key, value in start.items() if key not in unwanted}, **ours}
