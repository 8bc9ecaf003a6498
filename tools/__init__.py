"""Programs for the project's own use; no part of the package."""
