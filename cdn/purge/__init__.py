"""Purges: scopes, floors and the purge API."""
