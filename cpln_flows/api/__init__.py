"""Talk to the platform: the only package that imports httpx and websockets."""
