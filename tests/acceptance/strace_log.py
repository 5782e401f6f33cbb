"""Reads what ``strace -f -yy -xx`` wrote: which calls, on which file or connection, in what order.

The position of a line is its time: the tracer holds a process at the entry of a call until the line
is due and sees its end before the next begins, so "ended before the other began" is certain. Where
calls overlap nothing is claimed about their order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

TRACED = (
    "open,openat,creat,lseek,write,pwrite64,writev,pwritev,pwritev2,sendto,sendmsg,sendfile,"
    "copy_file_range,ftruncate,truncate,fsync,fdatasync,syncfs,sync,rename,renameat,renameat2,link,"
    "linkat,unlink,unlinkat,mkdir,mkdirat,rmdir"
)
OPTIONS = ("-f", "-yy", "-xx", "-s", "262144", "--seccomp-bpf", "-e", f"trace={TRACED}")
"""What strace must be called with; ``-o FILE`` and the command follow."""

_LINE = re.compile(r"(?:\[pid\s+)?(\d+)\]?\s+(.*)", re.DOTALL)
_WHOLE = re.compile(r"(\w+)\((.*)\)\s+= (-?\d+)", re.DOTALL)
_UNFINISHED = re.compile(r"(\w+)\((.*?)\s*<unfinished \.\.\.>$", re.DOTALL)
_RESUMED = re.compile(r"<\.\.\. (\w+) resumed>(.*)", re.DOTALL)
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"(\.\.\.)?', re.DOTALL)
_DESCRIPTOR = re.compile(r"(\d+|AT_FDCWD)<(.*?)>(\(deleted\))?(?=[,)(\s]|$)")
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|[0-7]{1,3}|.)", re.DOTALL)
_LETTERS = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"v": b"\v", b"f": b"\f", b"a": b"\a"}


@dataclass(frozen=True)
class Descriptor:
    """A descriptor with what it refers to: a path, or ``TCP:[local->remote]``."""

    number: int  # -100 for AT_FDCWD
    target: str
    deleted: bool = False


@dataclass(frozen=True)
class Call:
    """A system call that succeeded; ``begin`` and ``end`` are positions in the log."""

    pid: int
    name: str
    arguments: str
    result: int
    begin: int
    end: int

    @property
    def descriptors(self) -> list[Descriptor]:
        """Every descriptor among the arguments."""
        outside = _STRING.sub('""', self.arguments)
        return [
            Descriptor(
                -100 if number == "AT_FDCWD" else int(number),
                unescape(target).decode("utf-8", "surrogateescape"),
                bool(deleted),
            )
            for number, target, deleted in _DESCRIPTOR.findall(outside)
        ]

    @property
    def strings(self) -> list[bytes]:
        """Every quoted argument: paths, or what was written.

        Raises:
            ValueError: the tracer cut one short.
        """
        found = []
        for text, cut in _STRING.findall(self.arguments):
            if cut:
                raise ValueError(f"{self.name}: the trace was cut short")
            found.append(unescape(text))
        return found

    @property
    def written(self) -> bytes:
        """What a writing call really took, all vectors joined."""
        return b"".join(self.strings)[: self.result]

    @property
    def numbers(self) -> list[int]:
        """Plain numbers among the arguments, from left to right."""
        outside = _DESCRIPTOR.sub("", _STRING.sub('""', self.arguments))
        return [int(each) for each in re.findall(r"(?<![\w.])-?\d+(?![\w.])", outside)]


def unescape(text: str) -> bytes:
    """Undo the escapes of a C string, hexadecimal and octal ones included."""

    def plain(match: re.Match[bytes]) -> bytes:
        code = match.group(1)
        if code[:1] == b"x" and len(code) == 3:
            return bytes((int(code[1:], 16),))
        if code.isdigit():
            return bytes((int(code, 8) & 0xFF,))
        return _LETTERS.get(code, code)

    return _ESCAPE.sub(plain, text.encode("utf-8", "surrogateescape"))


def read_calls(lines: Iterable[str]) -> Iterator[Call]:
    """Yield the calls that succeeded, in the order in which they ended."""
    waiting: dict[int, tuple[str, str, int]] = {}
    for position, line in enumerate(lines):
        match = _LINE.match(line.rstrip("\n"))
        if match is None:
            continue
        pid, rest = int(match.group(1)), match.group(2)
        if begun := _UNFINISHED.match(rest):
            waiting[pid] = (begun.group(1), begun.group(2), position)
            continue
        begin = position
        if resumed := _RESUMED.match(rest):
            name, arguments, begin = waiting.pop(pid, (resumed.group(1), "", position))
            rest = f"{name}({arguments}{resumed.group(2)}"
        whole = _WHOLE.match(rest)
        if whole is not None and int(whole.group(3)) >= 0:
            yield Call(pid, whole.group(1), whole.group(2), int(whole.group(3)), begin, position)
