"""The shell scripts that run in a sandbox on our behalf. An image needs a POSIX shell at /bin/sh;
for files find, stat, readlink, head, wc and tar, too (GNU's or busybox's).

All that varies is an argument or a variable, never part of the script.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import attrs

MARK = "WIT_COMMAND"
"""The variable by which a command's processes are told from others of the sandbox."""

_FIRST_LINE = re.compile(rb"wit ([0-9]+) ([0-9]+) ([01])\r?\n")
NO_FOLDER = b"wit no folder"

# Says its process id and how often the sandbox ran out of memory, and becomes the command.
_START = r"""
cd "$1" 2>/dev/null || { echo "wit no folder"; exit 126; }
wit_sized=0
[ "$2" = 0 ] || { stty rows "$2" cols "$3" 2>/dev/null && wit_sized=1; }
wit_kills=0
for wit_file in /sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control; do
    [ -r "$wit_file" ] && while read -r wit_key wit_value; do
        [ "$wit_key" = oom_kill ] && wit_kills=$wit_value
    done <"$wit_file"
done
shift 3
printf 'wit %s %s %s\n' "$$" "$wit_kills" "$wit_sized"
exec "$@"
"""

# Sends $1 to each process group with a member of session $2 or with the mark $3 in its
# environment. A group is signalled as one, so that a process cannot fork away from it. KILL goes
# on until none is left. That it is done is said, as the engine may tell of its end much later.
_KILL = r"""
look() {
    group= session= state=
    while read -r key value rest; do
        case $key in
            State:) state=$value ;;
            NSpgid:) group=$value ;;
            NSsid:) session=$value ;;
        esac
    done <"$1/status"
} 2>/dev/null
ours() {
    for process in /proc/[0-9]*; do
        look "$process"
        [ "$session" = "$leader" ] && [ "$state" != Z ] && echo "$group"
    done
    for file in $(grep -ls "$mark" /proc/[0-9]*/environ 2>/dev/null); do
        look "${file%/environ}"
        [ "$session" != "$own" ] && [ "$state" != Z ] && echo "$group"
    done
}
signal=$1 leader=$2 mark=$3
look /proc/$$
own=$session rounds=0
while groups=$(ours | sort -u); [ -n "$groups" ]; do
    for group in $groups; do kill -"$signal" "-$group" 2>/dev/null; done
    rounds=$((rounds + 1))
    [ "$signal" = KILL ] || break
    [ "$rounds" -lt 200 ] || exit 1
done
echo done
"""
DONE = b"done"

OUTSIDE, MISSING, WRONG_KIND, INCOMPLETE, NOT_WRITTEN = 41, 44, 45, 46, 47
"""Exit codes of the scripts below."""

# `real PATH`: $r is where it leads, which is in the workspace. `folder PATH`: makes it, too.
_FILES = r"""
export LC_ALL=C
real() {
    r=$(readlink -f "$1" && echo /) || exit 44
    r=${r%??}
    case $r in /workspace | /workspace/*) ;; *) exit 41 ;; esac
}
folder() {
    f=$1
    while [ ! -e "$f" ] && [ ! -L "$f" ]; do f=${f%/*}; done
    real "$f"
    mkdir -p "$1" 2>/dev/null || [ -d "$1" ] || exit 45
    real "$1"
}
"""

READ = (
    _FILES
    + r"""
real "$1"
[ -e "$r" ] || exit 44
[ -f "$r" ] || exit 45
exec head -c "$2" "$r"
"""
)

WRITE = (
    _FILES
    + r"""
folder "$1"
f=$r/$2 new=$r/.wit-$5
if [ -L "$f" ]; then real "$f"; f=$r; fi
[ ! -e "$f" ] || [ -f "$f" ] || exit 45
cat >"$new" || { rm -f "$new"; exit 47; }
[ "$(wc -c <"$new")" -eq "$3" ] || { rm -f "$new"; exit 46; }
chmod "$4" "$new" && mv -f "$new" "$f" || { rm -f "$new"; exit 47; }
"""
)

# Entries end with two slashes and a line end, which are in no name; then the symlinks' targets.
LIST = (
    _FILES
    + r"""
real "$1"
[ -e "$r" ] || exit 44
[ -d "$r" ] && cd "$r" || exit 45
find . -mindepth 1 -maxdepth 1 -exec stat -c '%f %s %Y %n//' {} +
printf '\0'
find . -mindepth 1 -maxdepth 1 -type l -exec sh -c '
    for link; do printf "%s\0" "$link"; readlink -n "$link"; printf "\0"; done' sh {} +
"""
)

REMOVE = (
    _FILES
    + r"""
real "$1"
[ -e "$r/$2" ] || [ -L "$r/$2" ] || exit 44
exec rm -rf "$r/$2"
"""
)

UPLOAD = (
    _FILES
    + r"""
folder "$1"
exec tar -x -f - -C "$r"
"""
)

DOWNLOAD = (
    _FILES
    + r"""
real "$1"
f=$r/$2
[ -e "$f" ] || [ -L "$f" ] || exit 44
[ ! -d "$f" ] || [ -L "$f" ] || exec tar -c -f - -C "$f" .
exec tar -c -f - -C "$r" "./$2"
"""
)

# Used bytes of the workspace and how many it may have, of a filesystem of its own or by counting.
DISK = r"""
[ "$1" = own ] && exec df -k /workspace
exec du -skx /workspace
"""


@attrs.frozen
class Started:
    """What a command says of itself first."""

    pid: int
    """In the sandbox."""
    kills: int
    """How often something had been killed for using too much memory."""
    sized: bool
    """Its terminal has the size that it should have."""


def start(cwd: str, rows: int, columns: int, argv: Sequence[str]) -> list[str]:
    """The argument list that becomes ``argv`` in ``cwd``; rows and columns 0 without a terminal."""
    return ["/bin/sh", "-c", _START, "wit", cwd, str(rows), str(columns), *argv]


def started(line: bytes) -> Started | None:
    """What the first line of its output says; None if it is something else."""
    found = _FIRST_LINE.fullmatch(line)
    return Started(int(found[1]), int(found[2]), found[3] == b"1") if found else None


def kill(signal: str, pid: int, mark: str) -> list[str]:
    """The argument list that signals a command and all that it started; KILL until none is left."""
    return ["/bin/sh", "-c", _KILL, "wit", signal, str(pid), f"{MARK}={mark}"]


def files(script: str, *arguments: str) -> list[str]:
    return ["/bin/sh", "-c", script, "wit", *arguments]
