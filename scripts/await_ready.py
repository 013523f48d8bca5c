"""Wait until a machine reports itself ready; fail with its own error if it cannot be.

The program runs this for each machine: `pulumi up` ends when the site serves, or with what is
wrong. Reads only.
"""

import sys

from scripts.watched import UNKNOWN, Watched, run, say


def await_ready(machine: Watched, seconds: float) -> int:
    """0 when it is ready within these seconds, else 1 with the reason on stderr."""
    began = machine.clock()
    said = detail = ""

    def look() -> int | None:
        nonlocal said, detail
        report = machine.report()
        detail = report.detail if report else ""
        state = report.state if report else "no report yet"
        if report and report.state == "ready":
            say(f"{machine}: ready after {machine.clock() - began:.0f} s")
            return 0
        if report and report.state == "failed":
            return _failed(f"{machine} failed:\n{report.detail}")
        ended = machine.ended()
        # One that was made a moment ago may not be known everywhere yet.
        if ended and ended != UNKNOWN:
            return _failed(f"{machine} is {ended} and was never ready; it last said: {state}.")
        if state != said:
            said = state
            say(f"{machine}: {state}")
        return None

    outcome = machine.until(seconds, look)
    if outcome is not None:
        return outcome
    return _failed(
        f"{machine} was not ready within {seconds:.0f} s; it last said: {said or 'nothing'}."
        f" Its console: `aws ec2 get-console-output --latest --instance-id {machine.instance}`;"
        " the limit: site:machines.readyWithin."
        + (f" What it was waiting for:\n{detail}" if detail else "")
    )


def _failed(why: str) -> int:
    print(why, file=sys.stderr)
    return 1


if __name__ == "__main__":
    run(await_ready, "SITE_READY_WITHIN")
