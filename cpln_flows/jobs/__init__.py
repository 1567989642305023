"""One job from its submission to its end; no Prefect decorators, no blocks."""
