"""HTTP/1.1 as a client speaks it (RFC 9112): one connection, one exchange on it."""
