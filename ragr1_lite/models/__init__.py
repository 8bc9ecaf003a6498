"""Models: loading, the built-in one, tokenizer, sampling with a key-value cache, vLLM."""
