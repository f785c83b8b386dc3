"""Rules that a bundle brings along: redirects, rewrites, fields, lifetimes, access. Read once per deploy, pure."""
