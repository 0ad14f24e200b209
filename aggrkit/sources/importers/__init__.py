"""Results as the tools that make them write them: a module for each format, and the registry that tells them apart."""

from aggrkit.sources.importers.registry import FORMATS, format_named, import_file, import_files, importable, recognised

__all__ = ["FORMATS", "format_named", "import_file", "import_files", "importable", "recognised"]
