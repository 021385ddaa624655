"""Files as their authors published them: downloaded once, or fetched by hand; verified either way.

A download goes on where an earlier one broke off, if the server tells that the file is still the
same (If-Range, RFC 9110), and is begun anew otherwise. It has its name only when it is whole and
verified.
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
_ATTEMPTS = 4  # at each address, each going on where the last one broke off
_PAUSE = 2.0  # seconds between them


class File(NamedTuple):
    """A published file.

    Attributes:
      name: what it is called here, whatever its address.
      urls: where it is, the authors' own address first.
      size: in bytes, if it is known.
      sha256: in hexadecimal; None if it is not known.
      md5: likewise; looked at if there is no sha256. With neither, nothing can be verified, which
        is told whenever the file is used.
    """

    name: str
    urls: tuple[str, ...]
    size: int | None = None
    sha256: str | None = None
    md5: str | None = None

    @property
    def about(self) -> str:
        """Name, size and hash, as far as they are known."""
        size = "" if self.size is None else f"{self.size:,} bytes, "
        kind, digest = self._digest
        return f"{self.name} ({size}{f'{kind} {digest}' if digest else 'no hash of it is known'})"

    @property
    def _digest(self) -> tuple[str, str | None]:
        return ("md5", self.md5) if self.md5 and not self.sha256 else ("sha256", self.sha256)

    def fault(self, path: Path) -> str | None:
        """Why the file at `path` is not this one; None if it is, or if no hash is known."""
        size = path.stat().st_size
        if self.size is not None and size != self.size:
            return f"it has {size:,} bytes, not {self.size:,}"
        kind, expected = self._digest
        if expected is None:
            return None
        found = _hash(path, kind)
        return None if found == expected else f"its {kind} is {found}, not {expected}"


class _Refused(Exception):
    """An address does not give the file."""


class _Broken(Exception):
    """A transfer ended too early; what has come is kept."""


def fetch(
    files: tuple[File, ...], data_set: str, home: Path, manual_dir: Path | None, by_hand: Path
) -> tuple[Path, ...]:
    """Where the files are, verified: by hand, from an earlier download, or downloaded now.

    Args:
      files: what is wanted.
      data_set: for whom, as errors and progress name it.
      home: where downloads are kept. Two processes may ask for it at once: one waits.
      manual_dir: a folder named by the user, which must hold all files; nothing is downloaded then.
      by_hand: where files are looked for first if no folder is named; it need not exist.

    Raises:
      UserError: a file is not what it should be, or cannot be had; says what to put where.
      OSError: `home` cannot be written to.
    """
    folder = by_hand if manual_dir is None else manual_dir
    given = {file: folder / file.name for file in files if (folder / file.name).is_file()}
    missing = [file for file in files if file not in given]
    if missing and manual_dir is not None:
        raise UserError(
            f"{data_set} is made from files that the folder {manual_dir} does not hold: "
            f"{_listed(missing)}. Put them there, unpacked no further and under these names."
        )
    for file, path in given.items():
        _check(file, path, data_set)
        _tell_unverified(file, path, home)
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
                        "The same command tries again. Or fetch by hand and put into the folder "
                        f"{by_hand}, or into another that you name with cdis data prepare "
                        f"{data_set} --manual_dir FOLDER: {_listed(missing[number:])}."
                    )
            _tell_unverified(file, path, home)
            given[file] = path
    return tuple(given[file] for file in files)


def _listed(files: list[File]) -> str:
    return ", ".join(f"{file.about} from {file.urls[0]}" for file in files)


def _check(file: File, path: Path, data_set: str) -> None:
    try:
        fault = file.fault(path)
    except OSError as error:
        raise UserError(f"{data_set}: {path} cannot be read ({error}). Mend that.") from error
    if fault:
        raise UserError(
            f"{path} is not the file that {data_set} is made from: {fault}. Delete it; then fetch "
            f"it again from {' or '.join(file.urls)} and put it there, or run cdis data prepare "
            f"{data_set}, which downloads it."
        )


def _tell_unverified(file: File, path: Path, home: Path) -> None:
    """Records the hash of a file of which none is known, so that it can be compared later."""
    if file.sha256 or file.md5:
        return
    digest, record = _hash(path, "sha256"), home / f"{file.name}.sha256"
    write_bytes(record, f"{digest}  {file.name}\n".encode())
    print(
        f"Warning: no hash of {file.name} is known to cdis, so {path} is used unverified. Its "
        f"sha256 is {digest}, as is noted in {record}.",
        file=sys.stderr,
        flush=True,
    )


def _hash(path: Path, kind: str) -> str:
    with open(path, "rb") as content:
        return hashlib.file_digest(
            content, lambda: hashlib.new(kind, usedforsecurity=False)
        ).hexdigest()


def _download(file: File, path: Path, data_set: str) -> list[str]:
    """Downloads from the first address that has the file; else says why each of them has not."""
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
        # Nothing to go on from: the next attempt starts anew.
        partial.unlink()
        reasons.append(f"{url}: what it sent is another file: {fault}")
    return reasons


def _transfer(url: str, partial: Path, data_set: str) -> None:
    for attempt in range(_ATTEMPTS):
        try:
            return _receive(url, partial, data_set)
        except _Broken as error:
            if attempt == _ATTEMPTS - 1:
                raise _Refused(f"{error}; what has come is kept") from error
            time.sleep(_PAUSE)


def _receive(url: str, partial: Path, data_set: str) -> None:
    """Completes `partial` from one response."""
    mark = _mark(partial)
    have = partial.stat().st_size if partial.exists() and mark.exists() else 0
    # Without compression on the way, so that lengths are those of the file.
    headers = {"User-Agent": "cdis", "Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": mark.read_text()}
    reply = _open(urllib.request.Request(url, headers=headers), partial)
    if reply is None:
        return
    with contextlib.closing(reply):
        if reply.headers.get_content_type() == "text/html":
            raise _Refused(
                "it sent a web page and not the file, as servers do that ask for a log-in or whose "
                "quota is used up"
            )
        resumed = reply.status == http.client.PARTIAL_CONTENT
        if resumed and not reply.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise _Refused("it sent another part of the file than was asked for")
        if not resumed:
            partial.unlink(missing_ok=True)
            _write_mark(mark, reply.headers)
        _append(reply, partial, have if resumed else 0, data_set)


def _append(reply: Any, partial: Path, have: int, data_set: str) -> None:
    """Writes what a reply holds behind the `have` bytes of `partial`."""
    length = reply.headers.get("Content-Length")
    coming = None if length is None else int(length)
    if coming is not None and coming > (free := shutil.disk_usage(partial.parent).free):
        reason = f"{os.strerror(errno.ENOSPC)}: {coming:,} bytes are to come, {free:,} are free"
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
    """The server's answer; None if `partial` is whole already."""
    try:
        return urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and partial.exists():
            # Either all of it has come, or what has come is of another version.
            if error.headers.get("Content-Range") == f"bytes */{partial.stat().st_size}":
                return None
            partial.unlink()
            raise _Broken("it has less of the file than has come") from error
        raise _Refused(f"HTTP {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _Refused(str(getattr(error, "reason", error)) or type(error).__name__) from error


def _read(reply: Any) -> bytes:
    try:
        return reply.read(_BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(f"the connection broke ({error or type(error).__name__})") from error


def _mark(partial: Path) -> Path:
    """Holds what tells one version of the file from another, in the words of the server."""
    return partial.with_name(f"{partial.name}.version")


def _write_mark(mark: Path, headers: Any) -> None:
    tag = headers.get("ETag", "")
    version = headers.get("Last-Modified") if not tag or tag.startswith("W/") else tag
    mark.unlink(missing_ok=True)
    if version:
        mark.write_text(version)
