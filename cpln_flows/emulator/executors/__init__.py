"""What carries out the containers of a run: real processes, or scripts. The platform decides when; these do."""
