"""The assistant for others: a web page on this machine, tools by MCP, or a trained model for other programs."""
