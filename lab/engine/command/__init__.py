"""A stand-in for Pulumi's command plugin: command:local:Command."""
