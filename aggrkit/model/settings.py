"""Settings: what can be configured, with its default and what is possible, and how changes are taken in."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from types import MappingProxyType
from typing import Any, Final, Literal

from aggrkit.errors import UnknownNameError, did_you_mean, quoted

__all__ = ["Setting", "defaults", "updated"]

_LARGEST: Final = sys.float_info.max


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting: its default, what it is for, and which values are possible.

    Parameters
    ----------
    default : bool, int, float or str
        Its value until it is changed; it tells the kind.
    doc : str, optional
        What it is for.
    above, below : float, optional
        A number lies between these two.
    least : float, optional
        The smallest possible number, instead of `above`.
    choices : tuple of str, optional
        The possible names; they make the setting a choice.

    Raises
    ------
    TypeError, ValueError
        If the default isn't possible itself.

    Examples
    --------
    >>> from aggrkit.model.settings import Setting
    >>> Setting(0.05, "level of the tests", below=0.5).kind
    'number'
    """

    default: bool | float | str
    doc: str = ""
    above: float = 0.0
    below: float = _LARGEST
    least: float | None = None
    choices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.checked("the default", self.default)

    @property
    def kind(self) -> Literal["flag", "number", "choice"]:
        """What its values are: "flag", "number" or "choice"."""
        if self.choices:
            return "choice"
        return "flag" if isinstance(self.default, bool) else "number"

    def checked(self, name: str, value: Any) -> bool | float | str:
        """Return a value if it is possible; numbers of other types become those of Python.

        Parameters
        ----------
        name : str
            Name of the setting, for the message.
        value : Any
            What it is to be.

        Raises
        ------
        TypeError
            If it is of another type.
        ValueError
            If it is out of bounds.
        UnknownNameError
            If it is none of the choices; it is a ValueError too.
        """
        if self.kind == "flag":
            if not isinstance(value, bool):
                raise TypeError(f"{name} is True or False; got {quoted(value)}")
            return value
        if self.kind == "choice":
            if not isinstance(value, str):
                raise TypeError(f"{name} is one of {', '.join(self.choices)}; got {quoted(value)}")
            if value not in self.choices:
                raise UnknownNameError.of(name, value, self.choices)
            return value
        if isinstance(value, bool) or not isinstance(value, Real):
            raise TypeError(f"{name} is a number {self._range}; got {quoted(value)}")
        number = int(value) if isinstance(value, Integral) else float(value)
        enough = number > self.above if self.least is None else number >= self.least
        if not (enough and number < self.below):
            raise ValueError(f"{name} is a number {self._range}; got {quoted(value)}")
        return number

    @property
    def _range(self) -> str:
        low = f"above {self.above:,.12g}" if self.least is None else f"of at least {self.least:,.12g}"
        return low if self.below == _LARGEST else f"{low} and below {self.below:,.12g}"


def defaults(known: Mapping[str, Setting]) -> Mapping[str, Any]:
    """Return the configuration in which nothing was changed yet; it can't be written to.

    Parameters
    ----------
    known : mapping of str to Setting
        Every setting by name.
    """
    return MappingProxyType({name: setting.default for name, setting in known.items()})


def updated(
    known: Mapping[str, Setting], config: Mapping[str, Any], changes: Mapping[str, Any], *, stacklevel: int = 3
) -> dict[str, Any]:
    """Return a configuration with changes; unknown settings are kept, with a warning.

    Parameters
    ----------
    known : mapping of str to Setting
        Every setting that is used, by name.
    config : mapping
        The configuration until now; it stays as it is.
    changes : mapping
        Setting to its new value.
    stacklevel : int, optional
        Whose line the warning names, as in `warnings.warn`; by default the caller of the caller.

    Returns
    -------
    dict
        The new configuration.

    Raises
    ------
    TypeError, ValueError
        If `changes` is no mapping, or a value is impossible.

    Examples
    --------
    >>> from aggrkit.model.settings import Setting, defaults, updated
    >>> known = {"alpha": Setting(0.05, below=0.5), "method": Setting("robust", choices=("robust", "iqr"))}
    >>> updated(known, defaults(known), {"method": "iqr"})
    {'alpha': 0.05, 'method': 'iqr'}
    """
    if not isinstance(changes, Mapping):
        raise TypeError(f"the configuration is a dictionary of changes; got {quoted(changes)}")
    taken = {key: known[key].checked(key, value) if key in known else value for key, value in changes.items()}
    unknown = sorted(str(key) for key in changes if key not in known)
    if unknown:
        meant = (f"{name} ({hint})" if (hint := did_you_mean(name, known)) else name for name in unknown)
        warnings.warn(
            f"unknown settings are kept but not used: {', '.join(meant)}; those in use: {', '.join(known)}",
            UserWarning,
            stacklevel=stacklevel,
        )
    return {**config, **taken}
