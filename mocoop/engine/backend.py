"""Which engine runs: real Dassl where it is installed, else our own `lite`; MOCOOP_ENGINE decides otherwise."""

import importlib
import importlib.util
import logging
import os
from types import ModuleType

from mocoop.errors import ConfigError, MocoopError

VARIABLE = "MOCOOP_ENGINE"
CHOICES = ("auto", "dassl", "lite")
DASSL_HOME = "https://github.com/KaiyangZhou/Dassl.pytorch"
OVERRIDE = f"{VARIABLE}=lite uses the built-in engine instead"


class EngineError(MocoopError, ImportError):
    """The engine that was asked for, or found, cannot be imported."""


def dassl_is_installed() -> bool:
    """Whether `import dassl` would find a package with a file. Nothing is imported; a bare folder does not count."""
    try:
        spec = importlib.util.find_spec("dassl")
    except ValueError:  # already imported, by something that left no spec
        return False
    return spec is not None and spec.origin is not None


def choose_backend() -> str:
    """The name of the engine, "dassl" or "lite".

    Raises ConfigError for an unknown MOCOOP_ENGINE, and EngineError if Dassl is asked for and absent.
    """
    wanted = os.environ.get(VARIABLE, "").lower() or "auto"
    if wanted not in CHOICES:
        raise ConfigError(f'{VARIABLE}: got "{wanted}", expected one of {", ".join(CHOICES)}')
    if wanted == "lite":
        return "lite"
    if dassl_is_installed():
        return "dassl"
    if wanted == "dassl":
        raise EngineError(f"{VARIABLE}=dassl, but Dassl is not installed; get it from {DASSL_HOME}, or {OVERRIDE}")
    return "lite"


def import_dassl(module: str) -> ModuleType:
    """Import a module of Dassl. Raises EngineError naming what it lacks: an installed Dassl is never passed over."""
    silenced = logging.root.manager.disable
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = error.name or str(error)
        raise EngineError(
            f'Dassl is installed but importing {module} failed: it needs the module "{missing}"; '
            f"pip install {missing.split('.')[0]} (Dassl's requirements.txt lists what it needs), or {OVERRIDE}"
        ) from error
    except Exception as error:
        raise EngineError(
            f"Dassl is installed but importing {module} failed with {type(error).__name__}: {error}; "
            f"fix that installation, or {OVERRIDE}"
        ) from error
    finally:
        logging.disable(silenced)  # one of Dassl's modules switches off the warnings of the whole process
