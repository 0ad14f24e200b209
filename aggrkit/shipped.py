"""Notebooks that come with the package, wherever they are."""

from __future__ import annotations

from pathlib import Path

from aggrkit.errors import AggrError

__all__ = ["shipped_notebooks"]


def shipped_notebooks(folder: str = "") -> dict[str, Path]:
    """Return the notebooks that come with the package, by name.

    Parameters
    ----------
    folder : str, optional
        "" for those to read, "templates" for those that reports are made from.

    Returns
    -------
    dict of str to pathlib.Path
        The name without its suffix, and where the file is.

    Raises
    ------
    AggrError
        If the installation lacks them.

    Examples
    --------
    >>> from aggrkit.shipped import shipped_notebooks
    >>> "quickstart" in shipped_notebooks()
    True
    """
    # A wheel carries them inside the package; an editable install has them beside it.
    here = Path(__file__).parent
    for place in (here / "notebooks" / folder, here.parent / "notebooks" / folder):
        found = {path.stem: path for path in sorted(place.glob("*.ipynb"))}
        if found:
            return found
    raise AggrError(
        f"the notebooks{f' of {folder}' if folder else ''} are missing from this installation of aggrkit; "
        "install it again with pip"
    )
