"""What runs inside a sandbox on our behalf: POSIX shell with coreutils or busybox.

Nothing is ever put into these texts but by :func:`quoted`; values are their arguments. They end
with the codes below when something is not as it should be.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

from wit.errors import Invalid

NOT_FOUND, NOT_VALID, NO_ROOM = 44, 40, 41

WINDOW = 4 * 1024 * 1024
"""Bytes of encoded output, on each channel, that a command may be ahead of its reader."""

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def quoted(argv: Sequence[str]) -> str:
    """An argument list as the one text that Daytona's API takes: the shell that reads it gets
    exactly these arguments again. Raises Invalid for what no argument can be."""
    if not argv:
        raise Invalid("a command needs at least the name of a program")
    if any("\0" in argument for argument in argv):
        raise Invalid("an argument of a command cannot hold a NUL character")
    return " ".join(map(shlex.quote, argv))


def script(text: str, *arguments: str) -> str:
    """A script with its arguments as such a text."""
    return quoted(["sh", "-c", text, "wit", *arguments])


def checked_environment(env: Mapping[str, str]) -> dict[str, str]:
    """Raises Invalid for a name that no shell can hold, or a NUL character."""
    for name, value in env.items():
        if not VARIABLE.match(name):
            raise Invalid(f"the variable {name!r} must be letters, digits and _ only")
        if "\0" in value:
            raise Invalid(f"the variable {name} cannot hold a NUL character")
    return dict(env)


def exports(env: Mapping[str, str]) -> str:
    """Shell text that sets these variables; a builtin, so they are in no process list."""
    checked = checked_environment(env).items()
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in checked)


# Whatever carries a command's mark in its environment was started by it, even when it has left its
# session or its parent has died.
_MARKED = r"""
marked() { grep -lszxF "WIT_COMMAND=$id" /proc/[0-9]*/environ 2>/dev/null; }
end_marked() {
    for round in 1 2 3 4 5 6 7 8 9; do
        found=$(marked); [ -n "$found" ] || return 0
        for file in $found; do pid=${file#/proc/}; kill -9 "${pid%/environ}" 2>/dev/null; done
    done
}
"""

_RUN = r"""
    cd "$dir" || exit 125
    export WIT_COMMAND="$id"
    case $1 in -*) printf '%s: not found\n' "$1" >&2; exit 127 ;; esac
    exec "$@"
"""

# Arguments: id, working directory, window, the command.
# Input comes as a line with a length and so many bytes of base64; length 0 ends it.
# Output goes as lines of base64 that are decoded each for itself; an encoder that is further ahead
# than the credit its reader gave waits, and with it, when its pipe is full, the command.
PIPES = (
    r"""
id=$1 dir=$2 window=$3; shift 3
t=/tmp/.wit-$id
mask=$(umask); umask 077
mkdir "$t" && mkfifo "$t/in" "$t/out" "$t/err" || exit 125
echo "$window" >"$t/out.credit"; echo "$window" >"$t/err.credit"
umask "$mask"
exec 3<&0 4>&2 2>/dev/null
"""
    + _MARKED
    + r"""
encode() {
    sent=0
    while part=$(dd bs=65536 count=1 2>/dev/null | base64 -w 3996) && [ -n "$part" ]; do
        printf '%s\n' "$part"
        sent=$((sent + ${#part} + 1))
        while [ ! -e "$t/code" ] && read -r credit <"$t/$1.credit" && [ "$sent" -gt "$credit" ]; do
            sleep 0.05
        done
    done
}
decode() {
    while read -r size && [ "$size" -gt 0 ] && head -c "$size" | base64 -d; do :; done >"$t/in"
    cat >/dev/null
}
encode out <"$t/out" 3<&- 4>&- & out=$!
encode err <"$t/err" >&4 3<&- 4>&- & err=$!
decode <&3 >/dev/null 3<&- 4>&- & input=$!
(
"""
    + _RUN
    + r"""
) <"$t/in" >"$t/out" 2>"$t/err" 3<&- 4>&-
code=$?
end_marked
echo "$code" >"$t/code"
wait "$out"; wait "$err"
kill "$input"
rm -rf "$t"
printf '=%s\n' "$code"
printf '=%s\n' "$code" >&4
exit "$code"
"""
)

# Arguments: id, working directory, the mark of begin and end, the command. The terminal stays open
# for a minute after the end, since the daemon drops output that it has not sent when it closes.
TERMINAL = (
    r"""
unset WIT_RUN
id=$1 dir=$2 mark=$3; shift 3
t=/tmp/.wit-$id
mkdir -m 700 "$t" || exit 125
"""
    + _MARKED
    + r"""
trap : INT QUIT
printf '\036%s\036' "$mark"
(
"""
    + _RUN
    + r"""
)
code=$?
end_marked
echo "$code" >"$t/code.new"; mv "$t/code.new" "$t/code"
printf '\036%s:%s\036' "$mark" "$code"
sleep 60
rm -rf "$t"
exit "$code"
"""
)

TYPED = b' exec sh -c "$WIT_RUN"\n'
"""What is typed into the shell of a new terminal; the blank keeps it out of histories."""

# Arguments: id, name of the signal. A command that is only just starting is waited for.
SIGNAL = (
    "id=$1\n"
    + _MARKED
    + r"""
for round in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    [ -d "/tmp/.wit-$id" ] && [ ! -e "/tmp/.wit-$id/code" ] || exit 0
    found=$(marked)
    if [ -n "$found" ]; then
        for file in $found; do pid=${file#/proc/}; kill -s "$2" "${pid%/environ}" 2>/dev/null; done
        [ "$2" = KILL ] && end_marked
        exit 0
    fi
    sleep 0.05
done
exit 0
"""
)

# Arguments: id. Whatever is left of it.
END = "id=$1\n" + _MARKED + 'end_marked; rm -rf "/tmp/.wit-$id"\n'

# Arguments: id, channel (out or err), credit.
CREDIT = r"""
t=/tmp/.wit-$1
[ -d "$t" ] || exit 0
echo "$3" >"$t/$2.new" && mv "$t/$2.new" "$t/$2.credit"
"""

# Arguments: id. The code of a terminal's command that has ended.
CODE = 'cat "/tmp/.wit-$1/code" 2>/dev/null\n'

PREPARE = r"""
mkdir -p /workspace 2>/dev/null ||
    { sudo -n mkdir -p /workspace && sudo -n chown "$(id -u):$(id -g)" /workspace; }
[ -w /workspace ] || { echo "/workspace cannot be made or written"; exit 1; }
for program in awk base64 dd find grep head mkfifo tar; do
    command -v "$program" >/dev/null || { echo "the image has no $program"; exit 1; }
done
find /workspace -maxdepth 0 -printf '' || { echo "the image needs GNU find"; exit 1; }
"""

_INSIDE = r"""
inside() {
    near=$1
    while [ ! -e "$near" ]; do near=$(dirname -- "$near"); done
    case $(readlink -f -- "$near")/ in /workspace/*) ;; *) return 1 ;; esac
}
"""

# Arguments: the uploaded file, where it goes, its mode.
PLACE = (
    _INSIDE
    + r"""
trap 'rm -f -- "$1"' EXIT
folder=$(dirname -- "$2")
inside "$folder" && mkdir -p -- "$folder" && [ -w "$folder" ] || exit 40
[ -L "$2" ] && rm -f -- "$2"
[ -e "$2" ] && [ ! -f "$2" ] && exit 40
chmod "$3" "$1" && mv -f -- "$1" "$2" || exit 41
"""
)

REMOVE = r"""
[ -e "$1" ] || [ -L "$1" ] || exit 44
rm -rf -- "$1" || { chmod -R u+rwx -- "$1" && rm -rf -- "$1"; } || exit 40
"""

# Arguments: the uploaded archive, the folder.
UNPACK = (
    _INSIDE
    + r"""
trap 'rm -f -- "$1"' EXIT
inside "$2" && mkdir -p -- "$2" || exit 40
tar -x -o -f "$1" -C "$2"
"""
)

# Arguments: the archive to make, what goes in.
PACK = r"""
[ -e "$2" ] || [ -L "$2" ] || exit 44
umask 077
if [ -d "$2" ] && [ ! -L "$2" ]; then tar -c -f "$1" -C "$2" .
else tar -c -f "$1" -C "$(dirname -- "$2")" "./$(basename -- "$2")"; fi && exit 0
rm -f -- "$1"
exit 41
"""

DISCARD = 'rm -f -- "$1"\n'

# Arguments: a folder. One text of base64: name, type, size, mode, time and target of each entry,
# all ended by NUL. (The daemon's own list follows symlinks and leaves out those that lead nowhere.)
LIST = r"""
[ -e "$1" ] || exit 44
[ -d "$1" ] && cd -- "$1" || exit 40
find . -mindepth 1 -maxdepth 1 -printf '%f\0%y\0%s\0%m\0%T@\0%l\0' | base64 -w 0
"""

# key=value lines; cgroup v2, then v1.
USAGE = r"""
c=/sys/fs/cgroup
say() { [ -r "$2" ] && read -r value <"$2" && echo "$1=$value"; }
say memory "$c/memory.current" || say memory "$c/memory/memory.usage_in_bytes"
say memory_limit "$c/memory.max" || say memory_limit "$c/memory/memory.limit_in_bytes"
say processes "$c/pids.current" || say processes "$c/pids/pids.current"
[ -r "$c/cpu.stat" ] && sed -n 's/^usage_usec /cpu_micros=/p' "$c/cpu.stat"
[ -r "$c/memory.events" ] && sed -n 's/^oom_kill /out_of_memory=/p' "$c/memory.events"
df -P -k /workspace 2>/dev/null | awk 'NR == 2 { print "disk=" $3; print "disk_limit=" $2 }'
exit 0
"""
