"""The optional libraries, and the command that installs each."""

from importlib.util import find_spec

__all__ = ["require"]


def require(what: str, extra: str, *modules: str) -> None:
    """Refuse to go on without the modules of an extra, and name the command that installs them.

    Parameters
    ----------
    what : str
        What needs them, in the plural, for the message.
    extra : str
        Name of the extra.
    *modules : str
        Modules that the extra installs.

    Raises
    ------
    ImportError
        A module is missing.
    """
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise ImportError(
            f"{what} need {' and '.join(missing)}: pip install 'purenet[{extra}]', "
            f"or pip install '.[{extra}]' in a clone of purenet"
        )
