"""Streams between programs and the bucket, none of them ever whole in memory or on a disk."""

import contextlib
import hashlib
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO

from botocore.exceptions import BotoCoreError

from hosts.database.backup.store import Readable

PIECE = 1024 * 1024
GZIP = 31
"""zlib's number for gzip's format."""


class ProgramError(Exception):
    """A program failed; with its last words."""


class CorruptError(Exception):
    """An object is not what was written."""


class Compressed:
    """A stream as gzip, with the size and the digest of both sides."""

    def __init__(
        self, source: Readable, ended: Callable[[], None] | None = None, level: int = 6
    ) -> None:
        """`ended` is called when the source gives no more; what it raises, `read` raises."""
        self._source = source
        self._ended = ended
        self._gzip = zlib.compressobj(level, zlib.DEFLATED, GZIP)
        self._ready = bytearray()
        self._done = False
        self.raw_size = 0
        self.size = 0
        self._digest = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        """So many bytes, fewer only at the end."""
        while not self._done and (size < 0 or len(self._ready) < size):
            piece = self._source.read(PIECE)
            if piece:
                self.raw_size += len(piece)
                self._ready += self._gzip.compress(piece)
            else:
                if self._ended:
                    self._ended()
                self._ready += self._gzip.flush()
                self._done = True
        taken = bytes(self._ready[:size] if size >= 0 else self._ready)
        del self._ready[: len(taken)]
        self.size += len(taken)
        self._digest.update(taken)
        return taken

    @property
    def sha256(self) -> str:
        """Of what was read."""
        return self._digest.hexdigest()


def decompressed(source: Readable, name: str, sha256: str = "") -> Iterator[bytes]:
    """The pieces of a gzip stream. Raises `CorruptError`, if need be at its end.

    Args:
        source: The stream.
        name: What it is, for the error.
        sha256: The digest of the compressed stream, if there is one beside gzip's own sum.
    """
    digest = hashlib.sha256()
    gzip = zlib.decompressobj(GZIP)
    try:
        while piece := source.read(PIECE):
            digest.update(piece)
            if content := gzip.decompress(piece):
                yield content
    except zlib.error:
        raise CorruptError(f"{name} is corrupt: it cannot be decompressed") from None
    except (BotoCoreError, OSError) as error:
        raise CorruptError(f"{name} could not be read to its end: {error}") from error
    if not gzip.eof or gzip.unused_data:
        raise CorruptError(f"{name} is corrupt: it does not end where it should")
    if sha256 and digest.hexdigest() != sha256:
        raise CorruptError(f"{name} is corrupt: it has not the digest that was noted for it")


class Program:
    """A running program whose errors are kept."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        stdout: int | IO[bytes] = subprocess.PIPE,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._name = command[0]
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 closed by `finish`
        self.process = subprocess.Popen(
            command, stdin=stdin, stdout=stdout, stderr=self._errors, env=environment
        )

    def finish(self) -> None:
        """Waits for its end. Raises `ProgramError` if it failed."""
        status = self.process.wait()
        said = self.said()
        self._errors.close()
        if status:
            why = f": {said}" if said else f" with {status}"
            raise ProgramError(f"{self._name} failed{why}")

    def said(self) -> str:
        """The end of what it said of its errors."""
        self._errors.seek(0)
        lines = self._errors.read()[-2000:].decode(errors="replace").splitlines()
        return " ".join(line for line in lines if not line.startswith("Warning:"))

    def end(self) -> None:
        """Ends it, however it is."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream:
                with contextlib.suppress(OSError):  # what it did not take is of no interest
                    stream.close()
        self._errors.close()


def feed(command: Sequence[str], pieces: Iterator[bytes]) -> None:
    """Runs a program on what the iterator gives. Raises `ProgramError`, or what that raises."""
    program = Program(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        stdin = program.process.stdin
        assert stdin  # noqa: S101 it was asked for
        try:
            for piece in pieces:
                stdin.write(piece)
            stdin.close()
        except BrokenPipeError:
            program.finish()  # it ended early, and says why
            raise ProgramError(f"{command[0]} ended before it had read all") from None
        program.finish()
    finally:
        program.end()
