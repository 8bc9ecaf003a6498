"""RAG-R1 on one GPU: small models that know when to search, search several things at once, and answer right."""

__version__ = "0.1.0"
