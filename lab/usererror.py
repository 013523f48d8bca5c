"""What the lab's commands say when something is not as they need it."""


class UserError(Exception):
    """Something that the user can mend. The text is for them: what, and what to do."""
