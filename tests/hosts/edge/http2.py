"""HTTP/2 with h2, which is told to send what it would refuse to send."""

from dataclasses import dataclass, field

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from h2.exceptions import ProtocolError

from tests.hosts.edge.site import NAME, Site

Headers = list[tuple[str, str]]


@dataclass
class Stream:
    """What came of a request."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    ended: bool = False
    reset: bool = False
    """Refused without an answer, alone or together with its connection."""


def head(*more: tuple[str, str], **pseudo: str) -> Headers:
    """A request's headers, those with a colon first; an underscore leaves one out: `_path=""`."""
    fields = {"method": "GET", "scheme": "https", "authority": NAME, "path": "/"} | pseudo
    left_out = {name.removeprefix("_") for name in fields if name.startswith("_")}
    first = [
        (f":{name}", value)
        for name, value in fields.items()
        if name not in left_out and not name.startswith("_")
    ]
    return [*first, *more]


class Http2:
    """A connection with any number of requests at once."""

    def __init__(self, site: Site, *, source: str = "127.0.0.1") -> None:
        self.socket = site.tls("h2", source=source)
        self.closed = False
        self.terminated = False
        self._streams: dict[int, Stream] = {}
        self.protocol = H2Connection(
            H2Configuration(
                client_side=True,
                header_encoding="latin-1",
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
                validate_inbound_headers=False,
            )
        )
        self.protocol.initiate_connection()
        self.flush()

    def flush(self) -> None:
        """Sends what there is to send."""
        try:
            self.socket.sendall(self.protocol.data_to_send())
        except OSError:
            self.closed = True

    def ask(self, headers: Headers, body: bytes = b"", *, end: bool = True) -> Stream:
        """Begins a request; not `end`: its body goes on."""
        number = self.protocol.get_next_available_stream_id()
        self._streams[number] = Stream()
        self.protocol.send_headers(number, headers, end_stream=end and not body)
        if body:
            self.protocol.send_data(number, body, end_stream=end)
        self.flush()
        return self._streams[number]

    def number(self, stream: Stream) -> int:
        return next(number for number, one in self._streams.items() if one is stream)

    def more(self, stream: Stream, body: bytes, *, end: bool = False) -> None:
        """More of a request's body."""
        self.protocol.send_data(self.number(stream), body, end_stream=end)
        self.flush()

    def reset(self, stream: Stream) -> None:
        self.protocol.reset_stream(self.number(stream), 8)
        self.flush()

    def hear(self) -> None:
        """Waits for something, and notes it."""
        try:
            got = self.socket.recv(65536)
        except ConnectionError:
            got = b""
        if not got:
            self.closed = True
            return
        try:
            events = self.protocol.receive_data(got)
        except ProtocolError:
            self.closed = True
            return
        for event in events:
            self._note(event)
        self.flush()

    def _note(self, event: Event) -> None:
        if isinstance(event, ConnectionTerminated):
            self.terminated = True
            return
        stream = self._streams.get(getattr(event, "stream_id", 0) or 0)
        if stream is None:
            return
        if isinstance(event, ResponseReceived):
            stream.headers = {str(name): str(value) for name, value in event.headers}
            stream.status = int(stream.headers.pop(":status"))
        elif isinstance(event, DataReceived):
            stream.body += event.data
            self.protocol.acknowledge_received_data(
                event.flow_controlled_length, self.number(stream)
            )
        elif isinstance(event, StreamEnded):
            stream.ended = True
        elif isinstance(event, StreamReset):
            stream.reset = True

    def answer(self, stream: Stream) -> Stream:
        """Waits until a request has its answer, or will have none."""
        while not (stream.ended or stream.reset or self.closed):
            self.hear()
        stream.reset |= self.closed and not stream.ended
        return stream

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> "Http2":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
