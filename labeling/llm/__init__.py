"""On-premise language models: one interface, an in-process adapter and one for servers."""
