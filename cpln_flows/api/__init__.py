"""How the platform is talked to: the only package that imports httpx and websockets."""
