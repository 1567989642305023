"""What each path answers. Routes read requests and write answers; what happens is decided below them."""
