"""Which folders of cached features are used: those that nobody else can write, unless the user says so. Needs no torch.

Whoever can write the folder can plant features, and links that lead a process to files elsewhere.
"""

import contextlib
import errno
import os
import stat
import sys
from pathlib import Path

if sys.platform != "win32":
    import grp
    import pwd

SHARED = "LAMM_CL_CACHE_SHARED"
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0)


def distrust(folder: Path) -> str | None:
    """Say why a folder of cached features is not used; None where it may be, or is not there yet."""
    if sys.platform == "win32" or os.environ.get(SHARED) == "1":
        return None
    try:
        found = folder.stat()
    except OSError:  # whoever reads or writes it will say what is wrong
        return None
    if found.st_uid not in (os.getuid(), 0):
        return f"it belongs to another user ({_user(found.st_uid)}). Choose a folder of your own, or set {SHARED}=1"
    writers = stat.S_IWOTH if _is_private(found.st_gid) else stat.S_IWOTH | stat.S_IWGRP
    if found.st_mode & writers:
        return f"other users can write it. Forbid that (chmod go-w {folder}), or set {SHARED}=1 where you trust them"
    return None


def _is_private(group: int) -> bool:
    """Whether a group has its user alone, as many systems give everybody one."""
    with contextlib.suppress(KeyError):
        own = pwd.getpwuid(os.getuid())
        return group == own.pw_gid and grp.getgrgid(group).gr_name == own.pw_name
    return False


def _user(number: int) -> str:
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(number).pw_name
    return str(number)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; what is new can be written by its user alone, unless caches are shared."""
    mode = 0o777 if os.environ.get(SHARED) == "1" else 0o755
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        with contextlib.suppress(FileExistsError):
            new.mkdir(mode)


def open_unlinked(file: Path, flags: int) -> int:
    """Open a file of a cache: neither itself nor the two folders above it may be links.

    Raises:
        OSError: One is, or it cannot be opened.
    """
    for folder in (file.parent, file.parent.parent):
        refuse_link(folder)
    return os.open(file, flags | _NO_LINKS | getattr(os, "O_BINARY", 0), 0o666)


def refuse_link(folder: Path) -> None:
    """Raise OSError where a folder of a cache is a link to somewhere else."""
    if folder.is_symlink():
        raise OSError(errno.ELOOP, "is a link, which a cache has none of", str(folder))
