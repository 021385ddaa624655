"""Files as their authors published them: downloaded once, or provided by the user; then verified.

An interrupted download resumes if the server confirms that the file has not changed (If-Range, RFC
9110), and restarts otherwise. A file gets its final name only when it is complete and verified.
"""

import contextlib
import errno
import hashlib
import http.client
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

from cdis.data.progress import Progress
from cdis.errors import UserError
from cdis.files import locked, write_bytes

_BLOCK = 1 << 20
_TIMEOUT = 60.0  # seconds without a byte
_ATTEMPTS = 4  # at each address, each resuming where the previous one stopped
_PAUSE = 2.0  # seconds between them


class File(NamedTuple):
    """A published file.

    Attributes:
      name: its file name on this machine.
      urls: where to download it, the authors' own address first.
      size: in bytes; None if unknown.
      sha256: in hexadecimal; None if unknown.
      md5: likewise; checked if `sha256` is None. With neither, the file cannot be verified, and
        each use prints a warning.
    """

    name: str
    urls: tuple[str, ...]
    size: int | None = None
    sha256: str | None = None
    md5: str | None = None

    @property
    def about(self) -> str:
        """Name, and size and hash if known."""
        size = "" if self.size is None else f"{self.size:,} bytes, "
        kind, digest = self._digest
        return f"{self.name} ({size}{f'{kind} {digest}' if digest else 'its hash is unknown'})"

    @property
    def _digest(self) -> tuple[str, str | None]:
        return ("md5", self.md5) if self.md5 and not self.sha256 else ("sha256", self.sha256)

    def fault(self, path: Path) -> str | None:
        """How the file at `path` differs from this one; None if it does not as far as is known."""
        size = path.stat().st_size
        if self.size is not None and size != self.size:
            return f"it has {size:,} bytes, not {self.size:,}"
        kind, expected = self._digest
        if expected is None:
            return None
        found = _hash(path, kind)
        return None if found == expected else f"its {kind} is {found}, not {expected}"


class _Refused(Exception):
    """A server does not send the file."""


class _Broken(Exception):
    """A transfer ended too early; the received part is kept."""


def fetch(
    files: tuple[File, ...], data_set: str, home: Path, manual_dir: Path | None, by_hand: Path
) -> tuple[Path, ...]:
    """Paths of the verified files: provided by the user, downloaded earlier, or downloaded now.

    Args:
      files: the files to get.
      data_set: the name of the data set, for errors and progress messages.
      home: where downloads are kept. Of two processes that download into it, one waits.
      manual_dir: a folder that must hold all files, or the file if there is only one; then
        nothing is downloaded.
      by_hand: without `manual_dir`, where files are looked for first; it need not exist.

    Raises:
      UserError: a file has the wrong content or cannot be downloaded; says what to put where.
      OSError: `home` is not writable.
    """
    folder = by_hand if manual_dir is None else manual_dir
    given = {}
    for file in files:
        path = folder if folder.name == file.name else folder / file.name
        if path.is_file():
            given[file] = path
    missing = [file for file in files if file not in given]
    if missing and manual_dir is not None:
        raise UserError(
            f"{manual_dir} lacks files of {data_set}: {_listed(missing)}. Put them into one folder "
            "under these names, without unpacking them."
        )
    for file, path in given.items():
        _check(file, path, data_set)
        _warn_if_unverifiable(file, path, home)
    if not missing:
        return tuple(given[file] for file in files)
    with locked(home / ".lock"):
        for number, file in enumerate(missing):
            path = home / file.name
            if path.exists():
                _check(file, path, data_set)
            else:
                reasons = _download(file, path, data_set)
                if reasons:
                    raise UserError(
                        f"{data_set}: {file.name} could not be downloaded: {'; '.join(reasons)}. "
                        "Run the same command to try again. Or download these files yourself: "
                        f"{_listed(missing[number:])}. Put them into {by_hand}, or into any "
                        f"FOLDER and run cdis data prepare {data_set} --manual_dir FOLDER."
                    )
            _warn_if_unverifiable(file, path, home)
            given[file] = path
    return tuple(given[file] for file in files)


def _listed(files: list[File]) -> str:
    return ", ".join(f"{file.about} from {file.urls[0]}" for file in files)


def _check(file: File, path: Path, data_set: str) -> None:
    try:
        fault = file.fault(path)
    except OSError as error:
        raise UserError(f"{data_set}: {path} is unreadable ({error}). Fix that.") from error
    if fault:
        raise UserError(
            f"{path} is not the published file of {data_set}: {fault}. Delete it; then download "
            f"it again from {' or '.join(file.urls)} to this place, or run cdis data prepare "
            f"{data_set}, which downloads it."
        )


def _warn_if_unverifiable(file: File, path: Path, home: Path) -> None:
    """Record the hash of a file without a published one, for later comparison, and warn."""
    if file.sha256 or file.md5:
        return
    digest, record = _hash(path, "sha256"), home / f"{file.name}.sha256"
    write_bytes(record, f"{digest}  {file.name}\n".encode())
    print(
        f"Warning: the correct hash of {file.name} is unknown, so {path} is used unverified. Its "
        f"sha256 is {digest}, recorded in {record}.",
        file=sys.stderr,
        flush=True,
    )


def _hash(path: Path, kind: str) -> str:
    with open(path, "rb") as content:
        return hashlib.file_digest(
            content, lambda: hashlib.new(kind, usedforsecurity=False)
        ).hexdigest()


def _download(file: File, path: Path, data_set: str) -> list[str]:
    """Download from the first address that sends the right file. Returns why each one failed."""
    partial, reasons = path.with_name(f"{path.name}.partial"), []
    for url in file.urls:
        try:
            _transfer(url, partial, data_set)
        except _Refused as error:
            reasons.append(f"{url}: {error}")
            continue
        fault = file.fault(partial)
        _mark(partial).unlink(missing_ok=True)
        if fault is None:
            os.replace(partial, path)
            return []
        # Nothing to resume from: the next attempt restarts.
        partial.unlink()
        reasons.append(f"{url}: it sent another file: {fault}")
    return reasons


def _transfer(url: str, partial: Path, data_set: str) -> None:
    for attempt in range(_ATTEMPTS):
        try:
            return _receive(url, partial, data_set)
        except _Broken as error:
            if attempt == _ATTEMPTS - 1:
                raise _Refused(f"{error}; the received part is kept") from error
            time.sleep(_PAUSE)


def _receive(url: str, partial: Path, data_set: str) -> None:
    """Complete `partial` with one reply."""
    mark = _mark(partial)
    have = partial.stat().st_size if partial.exists() and mark.exists() else 0
    # Without compression in transit, so that lengths are those of the file.
    headers = {"User-Agent": "cdis", "Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": mark.read_text()}
    reply = _open(urllib.request.Request(url, headers=headers), partial)
    if reply is None:
        return
    with contextlib.closing(reply):
        if reply.headers.get_content_type() == "text/html":
            raise _Refused(
                "it sent a web page instead of the file; perhaps it requires a log-in, or its "
                "quota is used up"
            )
        resumed = reply.status == http.client.PARTIAL_CONTENT
        if resumed and not reply.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise _Refused("it sent another part of the file than requested")
        if not resumed:
            partial.unlink(missing_ok=True)
            _write_mark(mark, reply.headers)
        _append(reply, partial, have if resumed else 0, data_set)


def _append(reply: Any, partial: Path, have: int, data_set: str) -> None:
    """Append the content of a reply to the `have` bytes of `partial`."""
    length = reply.headers.get("Content-Length")
    coming = None if length is None else int(length)
    if coming is not None and coming > (free := shutil.disk_usage(partial.parent).free):
        need = f"{coming:,} bytes remain to be downloaded, but only {free:,} are free"
        reason = f"{os.strerror(errno.ENOSPC)}: {need}"
        raise OSError(errno.ENOSPC, reason, str(partial))
    progress = Progress(data_set, (coming or 0) / 1e6, "downloaded", "MB")
    received = 0
    with open(partial, "ab") as out:
        while block := _read(reply):
            out.write(block)
            received += len(block)
            if coming is not None:
                progress.advance(len(block) / 1e6)
    if coming is not None and received < coming:
        raise _Broken(f"the connection broke after {have + received:,} of {have + coming:,} bytes")


def _open(request: urllib.request.Request, partial: Path) -> Any:
    """The server's reply; None if `partial` is already complete."""
    try:
        return urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and partial.exists():
            # Either the file is complete, or the received part is of another version.
            if error.headers.get("Content-Range") == f"bytes */{partial.stat().st_size}":
                return None
            partial.unlink()
            raise _Broken("its file is shorter than the part received earlier") from error
        raise _Refused(f"HTTP {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _Refused(str(getattr(error, "reason", error)) or type(error).__name__) from error


def _read(reply: Any) -> bytes:
    try:
        return reply.read(_BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(f"the connection broke ({error or type(error).__name__})") from error


def _mark(partial: Path) -> Path:
    """Holds the server's identifier of the version of the file (ETag or Last-Modified)."""
    return partial.with_name(f"{partial.name}.version")


def _write_mark(mark: Path, headers: Any) -> None:
    tag = headers.get("ETag", "")
    version = headers.get("Last-Modified") if not tag or tag.startswith("W/") else tag
    mark.unlink(missing_ok=True)
    if version:
        mark.write_text(version)
