"""Takes rights away from a process that is about to read bytes of a peer (Linux).

What remains is: compute, read the descriptors it was handed, answer on its socket. Files cannot be
opened, so everything that it needs must be imported before. What the kernel refuses to restrict is
left out of the result, never an error: the caller reports what is in force.
"""

from __future__ import annotations

import ctypes
import platform
import resource
import signal
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = ["EVERY_RESTRICTION", "Limits", "drop_namespaces", "lock_down"]

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 22, 38
_SECCOMP_MODE_FILTER = 2
_CLONE_NEWNS, _CLONE_NEWUTS, _CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_CAPABILITY_VERSION_3 = 0x20080522

# seccomp_data (linux/seccomp.h): call number at 0, architecture at 4, six 64-bit arguments at 16.
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06
_IF_EQUAL, _IF_GREATER_OR_EQUAL = 0x15, 0x35
_KILL, _REFUSE, _ALLOW = 0x80000000, 0x00050001, 0x7FFF0000  # refuse: EPERM
_X32_CALLS = 0x40000000
_PROT_EXEC, _AT_EMPTY_PATH = 0x4, 0x1000

# What stays possible: number of the call on x86_64 and on aarch64.
_CALLS: dict[str, tuple[int, int]] = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "fstat": (5, 80),
    "poll, or ppoll": (7, 73),
    "lseek": (8, 62),
    "munmap": (11, 215),
    "brk": (12, 214),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "pread64": (17, 67),
    "readv": (19, 65),
    "writev": (20, 66),
    "sched_yield": (24, 124),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "dup": (32, 23),
    "nanosleep": (35, 101),
    "getpid": (39, 172),
    "sendto": (44, 206),
    "recvfrom": (45, 207),
    "sendmsg": (46, 211),
    "recvmsg": (47, 212),
    "exit": (60, 93),
    "fcntl": (72, 25),
    "gettimeofday": (96, 169),
    "getrusage": (98, 165),
    "sysinfo": (99, 179),
    "times": (100, 153),
    "sigaltstack": (131, 132),
    "gettid": (186, 178),
    "futex": (202, 98),
    "sched_getaffinity": (204, 123),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "exit_group": (231, 94),
    "set_robust_list": (273, 99),
    "getrandom": (318, 278),
    "rseq": (334, 293),
}
# Calls that are let through for some arguments: number, argument, mask, value under the mask.
_CONDITIONS: dict[str, tuple[tuple[int, int], int, int, int]] = {
    "mmap without PROT_EXEC": ((9, 222), 2, _PROT_EXEC, 0),
    "mprotect without PROT_EXEC": ((10, 226), 2, _PROT_EXEC, 0),
    "newfstatat of a descriptor": ((262, 79), 3, _AT_EMPTY_PATH, _AT_EMPTY_PATH),
}
# Audit architecture (linux/audit.h) and the column of the tables above.
_MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}


@dataclass(frozen=True)
class Limits:
    """What a confined process may use.

    Attributes:
        memory_bytes: private memory (RLIMIT_DATA).
        mapped_bytes: the largest file that it has to map, on top of the memory (RLIMIT_AS).
        cpu_seconds: processor time of its whole life (RLIMIT_CPU).
        descriptors: open descriptors (RLIMIT_NOFILE).
    """

    memory_bytes: int
    mapped_bytes: int
    cpu_seconds: int
    descriptors: int = 64


def drop_namespaces() -> tuple[str, ...]:
    """Leave the network, the mounts and the users of the system, and give up capabilities.

    For a process with one thread that will start others like itself.
    """
    return _in_force(_SHARED)


def lock_down(limits: Limits) -> tuple[str, ...]:
    """Confine this process for the rest of its life.

    Returns:
        The restrictions that are in force now.
    """
    return (*_in_force({"rlimits": lambda: _limit(limits)}), *_in_force(_LAST))


def _in_force(steps: Mapping[str, Callable[[], bool]]) -> tuple[str, ...]:
    return tuple(name for name, restrict in steps.items() if restrict())


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def end_with_parent() -> bool:
    """Let this process be killed when the one that started it ends; tell whether Linux agreed."""
    return _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, argument: int) -> bool:
    zero = ctypes.c_ulong(0)
    return bool(_libc().prctl(option, ctypes.c_ulong(argument), zero, zero, zero) == 0)


def _new_namespaces() -> bool:
    flags = _CLONE_NEWUSER | _CLONE_NEWNET | _CLONE_NEWIPC | _CLONE_NEWNS | _CLONE_NEWUTS
    return bool(_libc().unshare(flags) == 0)


def _no_capabilities() -> bool:
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    return bool(_libc().capset(header, bytes(24)) == 0)


def _limit(limits: Limits) -> bool:
    # Processes come last: for root, or in a container, the kernel may refuse or ignore that one.
    wanted = (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, limits.descriptors),
        (resource.RLIMIT_CPU, limits.cpu_seconds),
        (resource.RLIMIT_DATA, limits.memory_bytes),
        (resource.RLIMIT_AS, limits.memory_bytes + limits.mapped_bytes),
        (resource.RLIMIT_NPROC, 0),
    )
    try:
        for kind, value in wanted:
            hard = resource.getrlimit(kind)[1]
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (value, value))
    except (OSError, ValueError):
        return False
    return True


def _filter_calls() -> bool:
    """Install the list of allowed system calls; everything else fails with EPERM."""
    if platform.machine() not in _MACHINES:
        return False
    program = _program(*_MACHINES[platform.machine()])
    instructions = ctypes.create_string_buffer(b"".join(program))
    filter_program = struct.pack("@HP", len(program), ctypes.addressof(instructions))
    buffer = ctypes.create_string_buffer(filter_program)
    return _prctl_pointer(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(buffer))


def _prctl_pointer(option: int, argument: int, pointer: int) -> bool:
    call = _libc().prctl
    return bool(call(option, ctypes.c_ulong(argument), ctypes.c_void_p(pointer), 0, 0) == 0)


def _program(architecture: int, column: int) -> list[bytes]:
    """Return the filter as BPF instructions (linux/filter.h)."""
    program = [
        _bpf(_LOAD, _ARCHITECTURE),
        _bpf(_IF_EQUAL, architecture, 1, 0),
        _bpf(_RETURN, _KILL),
        _bpf(_LOAD, _NUMBER),
        _bpf(_IF_GREATER_OR_EQUAL, _X32_CALLS, 0, 1),
        _bpf(_RETURN, _REFUSE),
    ]
    for numbers in _CALLS.values():
        program += [_bpf(_IF_EQUAL, numbers[column], 0, 1), _bpf(_RETURN, _ALLOW)]
    for calls, argument, mask, value in _CONDITIONS.values():
        program += [
            _bpf(_IF_EQUAL, calls[column], 0, 5),
            _bpf(_LOAD, _ARGUMENTS + 8 * argument),
            _bpf(_AND, mask),
            _bpf(_IF_EQUAL, value, 0, 1),
            _bpf(_RETURN, _ALLOW),
            _bpf(_RETURN, _REFUSE),
        ]
    return [*program, _bpf(_RETURN, _REFUSE)]


def _bpf(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, operand)


# In this order: each step may need what a later one takes away.
_SHARED: dict[str, Callable[[], bool]] = {
    "namespaces": _new_namespaces,
    "no capabilities": _no_capabilities,
}
_LAST: dict[str, Callable[[], bool]] = {
    "ends with its parent": lambda: _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),
    "not traceable": lambda: _prctl(_PR_SET_DUMPABLE, 0),
    "no new privileges": lambda: _prctl(_PR_SET_NO_NEW_PRIVS, 1),
    "seccomp": _filter_calls,
}

EVERY_RESTRICTION = (*_SHARED, "rlimits", *_LAST)
"""What :func:`drop_namespaces` and :func:`lock_down` take away on a kernel that allows all."""
