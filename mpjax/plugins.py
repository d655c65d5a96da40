"""Rules, tasks and structures from outside: modules named by ``--plugin``, and entry points.

A plugin is an importable module that defines a `Rule` with a name, or calls `register_task` or
`register_structure`. It is imported because its user named it, or because an installed package
lists it in the entry points of the group ``mpjax.plugins``: never because a run folder names it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from mpjax.errors import InputError
from mpjax.files import shown
from mpjax.log import log

GROUP = "mpjax.plugins"  # of entry points; each names a module
OURS = "mpjax"

Kind = Literal["rule", "task", "structure"]
OPTIONS: dict[Kind, str] = {"rule": "--method", "task": "--task", "structure": "--structure"}


@dataclass
class _Registry:
    """Everything from outside that this process knows of.

    Attributes:
      owners: module that registered each name.
      loaded: names registered by each plugin, in the order of import.
      searched: whether the entry points have been imported.
    """

    owners: dict[tuple[Kind, str], str] = field(default_factory=dict)
    loaded: dict[str, set[tuple[Kind, str]]] = field(default_factory=dict)
    searched: bool = False


_REGISTRY = _Registry()


def claim(kind: Kind, name: str, module: str, taken: Iterable[str]) -> None:
    """Reserves a name for a module; a module may register the same name again.

    Args:
      taken: names of this library.

    Raises:
      InputError: the name is one of ours, or of another module.
    """
    if not name or not all(c.isalnum() or c in "_-." for c in name):
        raise InputError(
            f"{module} registers a {kind} called {shown(repr(name))}; a name has letters, digits, "
            "and _ - . only"
        )
    other = OURS if name in taken else _REGISTRY.owners.get((kind, name), module)
    if other != module:
        raise InputError(
            f"a {kind} called {name} is registered by {other} and by {module}; rename one of them, "
            "or leave one of the plugins out"
        )
    _REGISTRY.owners[kind, name] = module


def names(kind: Kind) -> list[str]:
    """Registered names, sorted."""
    return sorted(name for found, name in _REGISTRY.owners if found == kind)


def split(plugins: str | None) -> list[str]:
    """Modules of a ``--plugin``, which has commas between them.

    >>> split("one.rules, two"), split(None)
    (['one.rules', 'two'], [])
    """
    return [part.strip() for part in (plugins or "").split(",") if part.strip()]


def load(plugins: str | None) -> None:
    """Imports the modules of a ``--plugin``.

    Raises:
      InputError: a module that does not exist, fails on import, or registers nothing.
    """
    for module in split(plugins):
        try:
            _load(module)
        except InputError:
            raise
        except (Exception, SystemExit) as error:
            raise InputError(_broken(f"--plugin {module}", module, error)) from error


def search(kind: Kind, name: str) -> bool:
    """Whether a name is registered, after importing the installed plugins where it was not."""
    if (kind, name) not in _REGISTRY.owners and not _REGISTRY.searched:
        _REGISTRY.searched = True  # before the imports: a plugin may look for names itself
        for module, package in _installed():
            try:
                _load(module)
            except InputError:
                raise
            except (Exception, SystemExit) as error:
                # Another one may have the name. If none has, the warning says where to look.
                log.warning("%s", _broken(f"plugin {module} of {package}", module, error))
    return (kind, name) in _REGISTRY.owners


def provider(kind: Kind, name: str) -> str | None:
    """Plugin that registered a name; None for our names, and for names of the running program."""
    found = (plugin for plugin, claims in _REGISTRY.loaded.items() if (kind, name) in claims)
    return next(found, None)


def hint(kind: Kind, recorded: str | None = None) -> str:
    """Advice about an unknown name, for the end of a message that lists the known ones.

    Args:
      recorded: ``--plugin`` of the run that is opened.
    """
    if recorded:
        return (
            f"; the run names the plugin {shown(recorded)}, and opening a run imports nothing that "
            f"it names: give --plugin {shown(recorded)} if you trust it"
        )
    return f"; for a {kind} from outside give --plugin with its module"


def _load(module: str) -> None:
    if module in _REGISTRY.loaded:
        return
    if not all(part.isidentifier() for part in module.split(".")):
        raise InputError(
            f"--plugin is {shown(repr(module))}; give the name of an importable module, such as "
            "my_package.my_module"
        )
    before = set(_REGISTRY.owners)
    importlib.import_module(module)
    package = module.partition(".")[0]
    # A module that was imported earlier registers nothing now.
    earlier = {c for c, owner in _REGISTRY.owners.items() if owner.partition(".")[0] == package}
    claims = set(_REGISTRY.owners) - before | earlier
    if not claims or package == OURS:
        raise InputError(
            f"plugin {module} registers nothing; it should define a Rule with a name, or call "
            "mpjax.register_task or mpjax.register_structure"
        )
    _REGISTRY.loaded[module] = claims


def _installed() -> list[tuple[str, str]]:
    """Module and package of the entry points of installed packages."""
    import importlib.metadata  # 20 ms, for names that are not ours only

    points = importlib.metadata.entry_points(group=GROUP)
    found = [(point.module, point.dist.name if point.dist else "a package") for point in points]
    return sorted(set(found))


def _broken(what: str, module: str, error: BaseException) -> str:
    absent = error.name if isinstance(error, ModuleNotFoundError) else None
    if absent and f"{module}.".startswith(f"{absent}."):
        return (
            f"{what}: there is no module {absent}; install it, or put its folder on PYTHONPATH "
            f"(now {shown(':'.join(p for p in sys.path[:2] if p) or 'empty')}, ...)"
        )
    return f"{what} fails on import: {type(error).__name__}: {shown(error)}; mend it, or leave it"
