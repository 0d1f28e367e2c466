"""The HTTP API of an app: Dapr's workflow paths, and what goes beyond them."""
