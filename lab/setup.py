"""What has to be there before a lab can start: packages, the machine image, the Pulumi CLI.

Each step that is done already costs nothing and says nothing.
"""

import os
from pathlib import Path

from lab import image, paths, preflight, terminal
from lab.engine import cli
from lab.follow import follow
from lab.usererror import UserError


def prepare(*, starting: bool = True) -> Path:
    """Check the machine, then install what is missing; the Pulumi CLI.

    `UserError`, `cli.CliError`: it cannot be.

    Not `starting`: another lab may run, and the port may be taken.
    """
    ground = preflight.look()
    if objection := preflight.objection(ground, starting=starting):
        raise UserError(objection)
    announce(ground)
    paths.cache().mkdir(parents=True, exist_ok=True)
    if ground.packages:
        install(ground.packages)
        if left := preflight.missing():
            msg = f"apt-get installed {', '.join(left)}, and what is needed of it is not there."
            raise UserError(msg)
    if not image.ready():
        with terminal.step("Machine image") as tell:
            image.build(tell)
        if ground.running:
            terminal.say(
                "The machines keep the image they started from: for the new one, `make down` first."
            )
    if not ground.running:
        image.prune()
    return _executable()


def announce(ground: preflight.Ground) -> None:
    """Say what is about to be installed, before anything is."""
    coming: list[str] = []
    if ground.packages:
        coming.append(f"Debian packages by apt: {', '.join(ground.packages)}")
    if not ground.image:
        coming.append(
            f"the machine image, made of Debian packages in {image.path()}: about a minute, 1 GB"
        )
    if not ground.cli:
        coming.append(
            f"Pulumi's CLI {cli.VERSION}, built with Go in {paths.cache()}: about five minutes"
        )
    if coming:
        terminal.say("To be installed, once:")
        for what in coming:
            terminal.say(f"  {what}")


def _executable() -> Path:
    """The Pulumi CLI, built now if there is none."""
    if found := cli.find():
        return found
    if (built := cli.built(paths.cache())).exists():
        return built
    with terminal.step("Pulumi CLI") as tell:
        return cli.build(paths.cache(), tell)


def install(packages: tuple[str, ...]) -> None:
    """Install Debian packages, with apt. `UserError`: they cannot be."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    with terminal.step(f"Packages: {', '.join(packages)}") as tell:

        def hear(line: str) -> None:
            if line.startswith(("Get:", "Unpacking ", "Setting up ")):
                tell(line)

        for arguments in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
            command = ["apt-get", "--quiet", *arguments]
            status, lines = follow(command, hear, environment)
            if status:
                wrong = [line for line in lines if line.startswith("E: ")] or lines[-1:]
                reason = "; ".join(line.removeprefix("E: ") for line in wrong)
                msg = f"`{' '.join(command)}` failed: {reason}"
                raise UserError(msg)
