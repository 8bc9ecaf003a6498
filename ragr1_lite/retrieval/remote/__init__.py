"""Searching over the network: a client and a server of the ``/retrieve`` form, OpenSearch, web search, MCP."""
