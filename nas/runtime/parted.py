"""What a process raises when it has lost the others of its run."""


class Parted(Exception):
    """Another process of the run has ended, does not answer, or is out of step.

    Attributes:
        tells: whether this process is the first to notice, and tells the user.
    """

    def __init__(self, message: str, *, tells: bool) -> None:
        super().__init__(message)
        self.tells = tells
