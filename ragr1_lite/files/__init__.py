"""Reads the rows of any file and writes files that are never half written."""
