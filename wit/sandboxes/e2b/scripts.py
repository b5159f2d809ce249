"""What is run in the sandbox on wit's own behalf, as argument lists.

Each script is a constant text; what varies are its arguments. The sandboxes' templates are made
from Debian, so the GNU programs are there.
"""

from __future__ import annotations

from wit.sandboxes.e2b.messages import MARK
from wit.sandboxes.provider import WORKSPACE, Signal

NOT_THERE = 40
NOT_A_FOLDER = 41
A_FOLDER = 42
OUTSIDE = 43
REFUSED = 44
NO_ROOM = 45

_FIND = f'grep --null-data --line-regexp --files-with-matches --fixed-strings "{MARK}=$2" \
/proc/[0-9]*/environ 2>/dev/null'

_SIGNAL = f"""
for pass in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    found=$({_FIND} | cut -d/ -f3)
    [ -n "$found" ] || exit 0
    kill "-$1" $found 2>/dev/null
    [ "$1" = KILL ] || exit 0
done
exit 1
"""

_INSIDE = f"""
export LC_ALL=C
inside() {{
    case "$(realpath -m -- "$1")/" in
        {WORKSPACE}/*) ;;
        *) exit {OUTSIDE} ;;
    esac
}}
"""

_PLACE = f"""{_INSIDE}
trap 'rm -f -- "$1"' EXIT
inside "$2"
mkdir -p -- "$2" || exit {REFUSED}
[ -L "$3" ] || [ ! -d "$3" ] || exit {A_FOLDER}
chmod "$4" "$1" && mv -f -T -- "$1" "$3" || exit {NO_ROOM}
"""

_LIST = f"""{_INSIDE}
inside "$1"
[ -e "$1" ] || exit {NOT_THERE}
[ -d "$1" ] || exit {NOT_A_FOLDER}
exec find "$1/" -mindepth 1 -maxdepth 1 -printf '%f\\0%y\\0%s\\0%m\\0%T@\\0%l\\0'
"""

_UNPACK = f"""{_INSIDE}
trap 'rm -f -- "$1"' EXIT
inside "$2"
mkdir -p -- "$2" || exit {REFUSED}
tar --extract --file="$1" --directory="$2" --no-same-owner || exit {REFUSED}
"""

_PACK = f"""{_INSIDE}
inside "$1"
[ -e "$1" ] || [ -L "$1" ] || exit {NOT_THERE}
if [ -d "$1" ] && [ ! -L "$1" ]; then
    set -- "$1" .
else
    set -- "${{1%/*}}" "./${{1##*/}}"
fi
exec tar --create --file=- --format=pax --pax-option=delete=atime,delete=ctime \
    --directory="$1" "$2"
"""


def _shell(script: str, *arguments: str) -> list[str]:
    return ["/bin/sh", "-c", script, "sh", *arguments]


def signal(signal: Signal, mark: str) -> list[str]:
    """Signal all processes that have the mark in their environment; KILL until there is none."""
    return _shell(_SIGNAL, signal.value, mark)


def place(temporary: str, folder: str, target: str, mode: int) -> list[str]:
    """Move a file to its place in ``folder``. Ends with OUTSIDE, REFUSED, A_FOLDER, NO_ROOM."""
    return _shell(_PLACE, temporary, folder, target, f"{mode & 0o777:o}")


def listing(folder: str) -> list[str]:
    """Six fields ended by NUL for each entry: name, type, size, mode, time, target.

    Ends with OUTSIDE, NOT_THERE, NOT_A_FOLDER.
    """
    return _shell(_LIST, folder)


def unpack(temporary: str, folder: str) -> list[str]:
    """Unpack a tar archive and remove it. Ends with OUTSIDE, REFUSED."""
    return _shell(_UNPACK, temporary, folder)


def pack(path: str) -> list[str]:
    """A tar archive on standard output. Ends with OUTSIDE, NOT_THERE."""
    return _shell(_PACK, path)


def remove_temporary(temporary: str) -> list[str]:
    return ["rm", "-f", "--", temporary]
