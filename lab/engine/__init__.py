"""Real Pulumi against the lab: the CLI, a language host and stand-ins for two plugins."""
