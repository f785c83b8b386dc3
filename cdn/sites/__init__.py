"""Sites, domains, deploys, manifests, and the way from host and path to a route. Pure."""
