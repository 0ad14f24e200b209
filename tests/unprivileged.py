"""A folder in which permissions hold, for tests of files that may not be read or written."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_NOBODY = 65534


@contextmanager
def unprivileged_folder() -> Iterator[Path]:
    """Give a new folder of this user, or, to root, who may do everything, act as "nobody" with a folder of theirs.

    What is imported only when it is used should be imported before: the package needn't be readable for "nobody".
    """
    folder = Path(tempfile.mkdtemp())
    user = os.geteuid()
    if user == 0:
        os.chown(folder, _NOBODY, -1)
        os.seteuid(_NOBODY)
    try:
        yield folder
    finally:
        os.seteuid(user)
        folder.chmod(0o700)
        shutil.rmtree(folder)
