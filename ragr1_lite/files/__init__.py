"""Reads the rows of any file, and writes files that are never half written.

``sources`` finds a file's form and reads its ``rows``: ``json_lines``, ``json_arrays`` or ``tables``.
``writing`` replaces files as a whole; a ``journal`` keeps finished work of a command that may be stopped; ``alone``
keeps a second one out.
"""
