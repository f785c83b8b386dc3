"""Where bytes live: object stores and the layout of their keys."""
