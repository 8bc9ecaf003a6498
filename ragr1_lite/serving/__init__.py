"""The assistant for others: a web page on this machine, or a trained model for other programs."""
