"""Corpora of every form: JSON lines, tables, question sets with contexts, documents, data sets on the hub."""

from ragr1_lite.retrieval.corpora.reader import Corpus, read_corpus

__all__ = ["Corpus", "read_corpus"]
