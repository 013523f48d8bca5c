"""What every machine has, whatever its role."""

from hosts.base.facts import Bundle, MachineFacts

__all__ = ["Bundle", "MachineFacts"]
