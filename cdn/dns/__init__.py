"""Answers to DNS questions: the message codec, the CDN's own zone, which nodes to name, and the UDP and TCP server."""
