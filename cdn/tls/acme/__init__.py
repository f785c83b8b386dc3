"""Certificates from an authority that speaks ACME (RFC 8555): one file for each object of the protocol."""
