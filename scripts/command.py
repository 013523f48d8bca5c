"""How every script of an operator's ends, whatever it does: its exit status, and one clear line.

0: done, or all is well. 1: no: it was refused, it failed, or something is wrong. 2: it could not
be asked: options that are not understood, no such stack, an AWS that does not answer.
"""

import json
import os
import sys
from collections.abc import Callable

from botocore.exceptions import BotoCoreError, ClientError

from hosts.base import coordination, lease

DONE, NO, UNASKED = 0, 1, 2

STATUSES = (
    "exit status: 0 done, or all is well; 1 refused, failed, or something is wrong;"
    " 2 not understood, no such stack, or AWS does not answer"
)
"""For --help."""


class NotDoneError(Exception):
    """It was refused or failed, for this reason."""


class NotAskedError(Exception):
    """There is nobody to ask: the message says what is missing, and what to do."""


SILENT = (coordination.UnreachableError, lease.UnreachableError, BotoCoreError, ClientError)
"""What is raised where AWS does not answer as it should."""


def attempt(
    work: Callable[[], int],
    tell: Callable[[str], None],
    *,
    interrupted: str,
    refusals: tuple[type[Exception], ...] = (),
    silences: tuple[type[Exception], ...] = (),
) -> int:
    """Does the work; its exit status, or that of its error, which is told in a sentence.

    `refusals` are errors that mean a no, beside `NotDoneError`; `silences` those that mean that
    nobody answered, in words that say so.
    """
    try:
        status = work()
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # Whoever read this has enough, as `head` has. Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except (KeyboardInterrupt, EOFError):
        why, status = interrupted, NO
    except (NotDoneError, *refusals) as error:
        why, status = str(error), NO
    except (NotAskedError, *silences) as error:
        why, status = str(error), UNASKED
    except SILENT as error:
        why, status = f"AWS does not answer as it should: {error}", UNASKED
    tell(why)
    return status


def teller(*, as_json: bool, prefix: str = "") -> Callable[[str], None]:
    """Says why on stderr; for programs, on stdout too: ``{"error": why}``."""

    def tell(why: str) -> None:
        if as_json:
            print(json.dumps({"error": why}))
        print(f"{prefix}{why}", file=sys.stderr)

    return tell
