"""The assistant for others: a web page on this machine."""
