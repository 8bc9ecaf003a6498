"""BM25 in this process: an index is built once, mapped into memory and searched in batches."""
