"""Where files are written, checked before any work, and files that are written whole."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from sprdiff.errors import SettingsError


def check_folder(folder: Path) -> None:
    """Passes if files can be written to ``folder``, which is made later if it is missing.

    Raises:
        SettingsError: it, or the first folder above it that exists, is not a folder or not writable.
    """
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir():
        raise SettingsError(f"{existing} is not a folder.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise SettingsError(f"The folder {existing} is not writable.")


def write_file(path: Path, data: bytes | str) -> None:
    """The whole file or none.

    Raises:
        OSError: it cannot be written; ``filename`` is ``path``.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def write_zip(path: Path, files: Mapping[str, Path | str], texts: Mapping[str, str] | None = None) -> None:
    """The whole archive or none: ``files`` and ``texts`` under their names.

    They are stored, since hardly anything of pictures can be made smaller.

    Raises:
        OSError: it cannot be written, or a file cannot be read; ``filename`` is that one.
    """
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name, source in files.items():
            archive.write(source, name)
        for name, text in (texts or {}).items():
            archive.writestr(name, text)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name in the same folder to write under, with the same ending; renamed to ``path`` if all goes well.

    Otherwise what was written under it is removed, and ``path`` stays as it was.

    Raises:
        OSError: it cannot be written; ``filename`` is ``path``.
    """
    temporary = path.with_name(f".{os.getpid()}.part.{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.filename not in (None, str(temporary), temporary):
            raise  # about another file
        # The name that the user has given, not the temporary one.
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        # On a read-only file system even what is not there cannot be removed.
        with suppress(OSError):
            temporary.unlink()
