"""The system calls that nothing in a sandbox may make.

Namespaces take away what can be named; this takes away parts of the kernel that ordinary programs
do not need and that its own bugs were found in. What is denied answers EPERM, as it would without
privileges, so that programs go on.
"""

from __future__ import annotations

import errno
import tempfile
from typing import Any

from wit.errors import Unavailable

DENIED = (
    # mounts and roots
    *("mount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "mount_setattr"),
    *("fsopen", "fsconfig", "fsmount", "fspick"),
    # namespaces
    *("unshare", "setns"),
    # the kernel itself
    *("bpf", "perf_event_open", "userfaultfd"),
    *("io_uring_setup", "io_uring_enter", "io_uring_register"),
    *("kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module"),
    *("syslog", "reboot", "add_key", "request_key", "keyctl"),
    # other processes, and handles on files
    *("process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_getfd", "kcmp"),
    *("open_by_handle_at", "name_to_handle_at"),
    # the machine
    *("quotactl", "swapon", "swapoff", "acct", "vhangup", "lookup_dcookie", "nfsservctl"),
    *("settimeofday", "clock_settime", "clock_adjtime", "adjtimex"),
    # pages of one node, and old personalities
    *("mbind", "migrate_pages", "move_pages", "personality"),
)

X86_DENIED = ("iopl", "ioperm", "modify_ldt", "uselib", "ustat", "sysfs")

NAMESPACE_FLAGS = (
    0x00000080,  # CLONE_NEWTIME
    0x00020000,  # CLONE_NEWNS
    0x02000000,  # CLONE_NEWCGROUP
    0x04000000,  # CLONE_NEWUTS
    0x08000000,  # CLONE_NEWIPC
    0x10000000,  # CLONE_NEWUSER
    0x20000000,  # CLONE_NEWPID
    0x40000000,  # CLONE_NEWNET
)

TERMINAL_INPUT = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX put words into the mouth of who sits at the terminal (ioctl_tty(2))."""

MISSING = "libseccomp is missing; install the package libseccomp2 and restart wit"


def program() -> bytes:
    """The filter as a BPF program for this machine's architecture (seccomp(2)).

    Raises Unavailable with what is to be installed.
    """
    try:
        import pyseccomp
    except (ImportError, OSError, RuntimeError) as error:
        raise Unavailable(MISSING) from error
    try:
        return _export(_filter(pyseccomp))
    except (OSError, ValueError, RuntimeError) as error:
        raise Unavailable(f"libseccomp cannot make the filter: {error}") from error


def _filter(seccomp: Any) -> Any:
    filter = seccomp.SyscallFilter(defaction=seccomp.ALLOW)
    denied = seccomp.ERRNO(errno.EPERM)
    for name in DENIED:
        filter.add_rule(denied, name)
    for name in X86_DENIED:
        if seccomp.resolve_syscall(seccomp.Arch.NATIVE, name) >= 0:
            filter.add_rule(denied, name)
    for flag in NAMESPACE_FLAGS:
        filter.add_rule(denied, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, flag, flag))
    # Its flags are in memory, where no filter can look; glibc goes on with clone.
    filter.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")
    for request in TERMINAL_INPUT:
        # The kernel looks at 32 bits of it; so must we.
        filter.add_rule(denied, "ioctl", seccomp.Arg(1, seccomp.MASKED_EQ, 0xFFFFFFFF, request))
    return filter


def _export(filter: Any) -> bytes:
    with tempfile.TemporaryFile() as file:
        filter.export_bpf(file)
        file.seek(0)
        return file.read()
