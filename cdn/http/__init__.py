"""HTTP semantics (RFC 9110, 9111, 9211). Pure: no socket, file, clock or randomness."""
