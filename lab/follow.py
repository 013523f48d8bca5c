"""Run a program that takes a while, and hear what it says as it says it."""

import subprocess
from collections.abc import Callable, Mapping, Sequence


def follow(
    command: Sequence[str], hear: Callable[[str], None], environment: Mapping[str, str]
) -> tuple[int, list[str]]:
    """The exit status and every line. `hear` is told each line, of both outputs, without its end.

    The program ends with us: if `hear` raises or we are interrupted, it is terminated.
    """
    lines: list[str] = []
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            for line in process.stdout or ():
                lines.append(line.rstrip())
                hear(lines[-1])
        except BaseException:
            process.terminate()
            raise
    return process.returncode, lines
