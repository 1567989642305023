"""What the platform's things are: names, tags, answers, manifests and log lines. Pure; no input or output."""
