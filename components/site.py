"""What every component needs to know about the deployment it is part of, as plain values."""

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws


@dataclass(frozen=True)
class Site:
    """One deployment of the site: names, tags and ARNs follow from it by construction."""

    project: str
    stack: str
    region: str
    account: str
    partition: str
    deletion_protection: bool

    @property
    def zone(self) -> str:
        """The private DNS zone."""
        return f"{self.stack}.{self.project}.internal"

    def name(self, of: str) -> str:
        """The name in AWS of what is called `of` in the program: `site-lab-app-server-1`."""
        return f"{self.project}-{self.stack}-{of}"

    def tags(self, of: str, role: str | None = None) -> dict[str, str]:
        """The tags that everything carries which can carry tags."""
        tags = {"Project": self.project, "Stack": self.stack, "Name": self.name(of)}
        return tags | ({"Role": role} if role else {})

    @property
    def log_group(self) -> str:
        """Where the machines' journals go in CloudWatch Logs."""
        return f"/{self.project}/{self.stack}"

    def parameter(self, path: str) -> str:
        """The name of a parameter in SSM Parameter Store."""
        return f"/{self.project}/{self.stack}/{path}"

    def arn(self, service: str, resource: str, *, region: bool = True, account: bool = True) -> str:
        """An ARN of this account and region; some services' leave one or both out."""
        where = self.region if region else ""
        whose = self.account if account else ""
        return f"arn:{self.partition}:{service}:{where}:{whose}:{resource}"


def this_site(*, deletion_protection: bool) -> Site:
    """The site of the stack that is running, in the account and region of its credentials.

    Raises:
        pulumi.RunError: no region is set.
    """
    region = aws.config.region
    if not region:
        msg = "aws:region is not set. Set it with `pulumi config set aws:region eu-central-1`."
        raise pulumi.RunError(msg)
    caller = aws.get_caller_identity()
    return Site(
        project=pulumi.get_project(),
        stack=pulumi.get_stack(),
        region=region,
        account=caller.account_id,
        partition=caller.arn.split(":")[1],
        deletion_protection=deletion_protection,
    )
