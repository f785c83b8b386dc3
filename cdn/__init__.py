"""A static-site and asset CDN: bundles in, websites out, purges acknowledged."""

__version__ = "0.1.0"
