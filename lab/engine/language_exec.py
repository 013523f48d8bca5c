"""Runs a Pulumi program: started by the language host with the Python of the project's virtualenv.

Like Pulumi's own pulumi-language-python-exec, but that a RunError is the one sentence shown:
Pulumi's is followed by one about an exit code. It imports nothing of this project, since the
program's virtualenv need not have it on its path.
"""

import argparse
import asyncio
import contextlib
import logging
import os
import runpy
import signal
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ALREADY_EXPLAINED = 32  # the language host then adds no message of its own


def main(argv: list[str]) -> int:
    """Run the program that the arguments name; 0, 1, or ALREADY_EXPLAINED."""
    parser = argparse.ArgumentParser()
    for name in ("monitor", "engine", "project", "stack", "organization", "root-directory"):
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("--parallel", type=int, default=1)
    parser.add_argument("--preview", action="store_true")
    parser.add_argument("program")
    parser.add_argument("arguments", nargs="*")
    args = parser.parse_args(argv)
    try:
        import pulumi  # noqa: PLC0415  the message below is for a virtualenv without it
        import pulumi.runtime  # noqa: PLC0415
    except ImportError:
        print(
            f"The Pulumi SDK is not installed in {sys.prefix}, the virtualenv of Pulumi.yaml's "
            "runtime options: install the project's requirements there.",
            file=sys.stderr,
        )
        return 1

    pulumi.runtime.set_all_config(
        pulumi.runtime.get_config_env(), pulumi.runtime.get_config_secret_keys_env()
    )
    pulumi.runtime.configure(
        pulumi.runtime.Settings(
            project=args.project,
            stack=args.stack,
            parallel=args.parallel,
            engine=args.engine,
            monitor=args.monitor,
            dry_run=args.preview,
            organization=args.organization,
            root_directory=args.root_directory,
        )
    )
    program = Path(args.program).resolve()
    sys.argv = [args.program, *args.arguments]
    # asyncio complains of tasks that an error leaves behind; Pulumi's leave them by design.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    executor = ThreadPoolExecutor(max_workers=max(args.parallel, 1) * 4)
    loop.set_default_executor(executor)

    signal.signal(signal.SIGINT, _interrupted)

    def run() -> None:
        runpy.run_path(str(program), run_name="__main__")

    try:
        loop.run_until_complete(pulumi.runtime.run_in_stack(run))  # pyright: ignore[reportUnknownMemberType]
    except pulumi.RunError as error:
        pulumi.log.error(str(error))
        return ALREADY_EXPLAINED
    except Exception:  # noqa: BLE001  whatever the program raises is shown to its author
        pulumi.log.error("Program failed with an unhandled exception:\n" + _traceback(program))
        return ALREADY_EXPLAINED
    finally:
        executor.shutdown(wait=True)
        with contextlib.suppress(RuntimeError):
            loop.close()
    return 0


def _interrupted(*_: object) -> None:
    """The engine has ended the update, and says why itself; waiting for it would only take time."""
    sys.stdout.flush()
    os._exit(ALREADY_EXPLAINED)


def _traceback(program: Path) -> str:
    """The current exception from the program's first own frame on."""
    main_file = program / "__main__.py" if program.is_dir() else program
    frames = traceback.extract_tb(sys.exc_info()[2])
    for index, frame in enumerate(frames):
        if os.path.realpath(frame.filename) == str(main_file):
            return traceback.format_exc(limit=index - len(frames))
    return traceback.format_exc()


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(code)
