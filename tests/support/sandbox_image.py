"""Images for sandboxes, made of this machine's own programs: nothing is fetched.

``wit-sandbox:test`` has Debian's programs as conf/sandbox/Dockerfile has them; ``wit-busybox:test``
has nothing but busybox, to see that nothing of GNU's is taken for granted.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable
from pathlib import Path

IMAGES = ("wit-sandbox:test", "wit-busybox:test")

_PROGRAMS = """
    awk basename bash cat chmod chown cp cut date dd df diff dirname du echo env expr false find flock
    grep head hostname id kill ln ls mkdir mkfifo mknod mktemp mount mv nproc od printf ps pwd readlink
    realpath rm rmdir sed seq setsid sh sha256sum sleep sort stat stty sync tail tar tee test timeout
    touch tr true truncate tty umount uname uniq unshare wc which xargs yes git
""".split()
_FOLDERS = (
    *("usr", "usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "etc", "proc", "sys", "dev", "root"),
    *("run", "var", "home"),
)
_LINKS = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64"}
_PEOPLE = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/workspace:/bin/sh\n",
    "etc/group": "root:x:0:\nuser:x:1000:\n",
}
_NO_PYTHON = {
    *("test", "idlelib", "lib2to3", "ensurepip", "__pycache__", "tkinter", "pydoc_data"),
    *("dist-packages", "site-packages"),
}


def write_image(name: str, tar: tarfile.TarFile) -> None:
    """The root of an image of IMAGES."""
    for folder in _FOLDERS:
        _add(tar, folder, kind=tarfile.DIRTYPE, mode=0o755)
    for link, target in _LINKS.items():
        _add(tar, link, kind=tarfile.SYMTYPE, target=target)
    _add(tar, "tmp", kind=tarfile.DIRTYPE, mode=0o1777)
    _add(tar, "workspace", kind=tarfile.DIRTYPE, mode=0o755, owner=1000)
    for path, text in _PEOPLE.items():
        _add(tar, path, text.encode())
    if name == "wit-busybox:test":
        _busybox(tar)
    else:
        _programs(tar)


def _busybox(tar: tarfile.TarFile) -> None:
    binary = Path(shutil.which("busybox") or "/bin/busybox")
    _add(tar, "usr/bin/busybox", binary.read_bytes(), mode=0o755)
    applets = subprocess.run([binary, "--list"], capture_output=True, text=True, check=True)
    for applet in applets.stdout.split():
        if applet != "busybox":
            _add(tar, f"usr/bin/{applet}", kind=tarfile.SYMTYPE, target="busybox")


def _programs(tar: tarfile.TarFile) -> None:
    files: dict[str, Path] = {}
    for program in _PROGRAMS:
        found = shutil.which(program, path="/usr/bin:/bin:/usr/sbin:/sbin")
        if found is None:
            raise RuntimeError(f"the tests' image needs the program {program}")
        files[f"usr/bin/{program}"] = Path(found).resolve()
    # Python stands where it stands here, or it would not find its library.
    standard = Path(sysconfig.get_path("stdlib"))
    python = Path(sys.base_prefix, "bin", f"python{sys.version_info[0]}.{sys.version_info[1]}")
    libraries = [python, *(standard / "lib-dynload").glob("_ctypes.*")]
    for folder in reversed([*standard.parents][:-1]):
        if (name := str(folder).lstrip("/")) not in _FOLDERS:
            _add(tar, name, kind=tarfile.DIRTYPE, mode=0o755)
    for path in _python(standard):
        name = str(path).lstrip("/")
        if path.is_dir():
            _add(tar, name, kind=tarfile.DIRTYPE, mode=0o755)
        else:
            _add(tar, name, path.read_bytes())
    files[str(python).lstrip("/")] = python
    if str(python.parent) != "/usr/bin":
        _add(tar, f"usr/bin/{python.name}", kind=tarfile.SYMTYPE, target=str(python))
    _add(tar, "usr/bin/python3", kind=tarfile.SYMTYPE, target=python.name)
    for library in _libraries([*files.values(), *libraries]):
        files[f"usr/lib/{library.name}"] = library
    # Programs name their loader by its full path.
    for loader in Path("/lib64").glob("ld-linux*"):
        files[f"usr/lib64/{loader.name}"] = loader.resolve()
    for loader in Path("/lib").glob("ld-linux*"):
        files[f"usr/lib/{loader.name}"] = loader.resolve()
    for name, path in files.items():
        _add(tar, name, path.read_bytes(), mode=0o755)
    # What would make somebody root, if that were possible.
    _add(tar, "usr/bin/root-id", files["usr/bin/id"].read_bytes(), mode=0o4755)


def _python(standard: Path) -> Iterable[Path]:
    yield standard
    for path in sorted(standard.rglob("*")):
        parts = path.relative_to(standard).parts
        if not set(parts) & _NO_PYTHON and not parts[0].startswith("config-"):
            yield path


def _libraries(programs: Iterable[Path]) -> set[Path]:
    found = set()
    for program in programs:
        said = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
        for line in said.splitlines():
            path = line.partition("=>")[2].split("(")[0].strip()
            if path.startswith("/"):
                found.add(Path(path))
    return found


def _add(
    tar: tarfile.TarFile,
    name: str,
    content: bytes = b"",
    *,
    kind: bytes = tarfile.REGTYPE,
    mode: int = 0o644,
    target: str = "",
    owner: int = 0,
) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.linkname, info.size = kind, mode, target, len(content)
    info.uid = info.gid = owner
    tar.addfile(info, io.BytesIO(content))
