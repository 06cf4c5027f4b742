"""All models of all domains in one place, for migrations and for tests that create the tables from the models."""

import importlib
import pkgutil

import server
from server.db.base import Base

for package in pkgutil.iter_modules(server.__path__):
    if package.ispkg:
        try:
            importlib.import_module(f"server.{package.name}.models")
        except ModuleNotFoundError as error:
            if error.name != f"server.{package.name}.models":
                raise

METADATA = Base.metadata
"""Every table of the platform."""
