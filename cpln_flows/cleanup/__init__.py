"""What nobody uses any more: what is there, what follows from it, its deletion, and what is reported of it."""
