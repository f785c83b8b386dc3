"""The control plane: HTTP API, tokens, deploys, node directory."""
