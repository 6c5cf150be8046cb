"""The control server's pages and endpoints; no rules of its own."""
