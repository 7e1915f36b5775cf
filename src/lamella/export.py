"""lamella.export: models as programs for other processes."""

from lamella.saving.programs import ExportArchive
from lamella.saving.programs import load_program as load

__all__ = ["ExportArchive", "load"]
