"""Secrets from SSM Parameter Store, as files that are gone when the machine is off."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from types_boto3_ssm import SSMClient

FOLDER = Path("/run/site")
"""In memory, kept over restarts of the agent."""


class ParameterError(Exception):
    """A parameter could not be read, or not be written."""


def value(client: "SSMClient", name: str) -> str:
    """The value of a parameter, decrypted. Raises `ParameterError`."""
    try:
        answer = client.get_parameter(Name=name, WithDecryption=True)
    except (BotoCoreError, ClientError) as error:
        message = f"the parameter {name} cannot be read: {error}"
        raise ParameterError(message) from error
    found = answer["Parameter"].get("Value", "")
    if not found:
        message = f"the parameter {name} is empty"
        raise ParameterError(message)
    return found


def store(client: "SSMClient", name: str, content: str) -> None:
    """Gives a secret parameter, which exists, another value. Raises `ParameterError`."""
    try:
        client.put_parameter(
            Name=name,
            Value=content,
            Type="SecureString",
            Overwrite=True,
            # What is too long for a standard parameter makes it an advanced one.
            Tier="Intelligent-Tiering",
        )
    except (BotoCoreError, ClientError) as error:
        message = f"the parameter {name} cannot be written: {error}"
        raise ParameterError(message) from error


def below(client: "SSMClient", path: str) -> dict[str, str]:
    """Every parameter below a path, by the rest of its name. Raises `ParameterError`."""
    found: dict[str, str] = {}
    try:
        for page in client.get_paginator("get_parameters_by_path").paginate(
            Path=path, Recursive=True
        ):
            for one in page["Parameters"]:
                found[one.get("Name", "").removeprefix(f"{path}/")] = one.get("Value", "")
    except (BotoCoreError, ClientError) as error:
        message = f"the parameters below {path} cannot be read: {error}"
        raise ParameterError(message) from error
    return found


def write(content: str, path: Path, mode: int = 0o400, owner: int = -1) -> None:
    """Writes a secret so that at no time anyone but its owner could read it.

    `owner` is the id of a user, by default the one that writes.
    """
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        os.fchown(file.fileno(), owner, -1)
        file.write(content)
    new.replace(path)


def fetch(client: "SSMClient", files: Mapping[str, str], folder: Path = FOLDER) -> None:
    """Writes each parameter to its file: full parameter name → file name."""
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    for name, file in files.items():
        write(value(client, name), folder / file)
