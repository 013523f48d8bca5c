"""The smallest site: what is measured in front of it is the load balancer."""

from collections.abc import Callable, Iterable

ANSWER = b"small and static\n"


def application(
    _: dict[str, object], start_response: Callable[[str, list[tuple[str, str]]], object]
) -> Iterable[bytes]:
    headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(ANSWER)))]
    start_response("200 OK", headers)
    return [ANSWER]
