"""The monitoring machine, and where its alerts go.

It asks and is asked by nobody: whoever looks at it comes by Session Manager's port forwarding.
"""

import pulumi
import pulumi_aws as aws

from components import settings
from components.fleet import Fleet
from components.foundation import Foundation
from components.machine import InSubnet, Machine
from components.network import Network
from components.policies import publish_alerts, read_parameters
from components.site import Site
from hosts import monitoring as host
from hosts.monitoring.options import WEBHOOK

PROMETHEUS = 9090
"""Where it listens on the machine's own loopback. Its page for people is /user/."""
_MIB_OF_GIB = 512
"""Half of the root disk is for what Prometheus remembers."""


class Monitoring(Fleet):
    """One machine. What it remembers is on its own disk, and begins anew when it is replaced."""

    def __init__(
        self,
        *,
        site: Site,
        network: Network,
        foundation: Foundation,
        settings: settings.Monitoring,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(
            "monitoring", site=site, network=network, foundation=foundation, ports=[], opts=opts
        )
        self.namespace = site.name("monitoring")
        """CloudWatch's, of the sign of life."""
        topic = aws.sns.Topic(
            # Not encrypted with a key of SNS's: CloudWatch's alarms could not use it.
            "alerts",
            name=site.name("alerts"),
            tags=site.tags("alerts", self.role),
            opts=self._child,
        )
        self.topic = topic.arn
        if settings.email:
            aws.sns.TopicSubscription(
                "alerts",
                topic=topic.arn,
                protocol="email",
                endpoint=settings.email,
                opts=self._child,
            )
        needed: list[pulumi.Resource] = [topic]
        may = publish_alerts(site, site.name("alerts"), self.namespace)
        if settings.webhook is not None:
            needed.append(self._webhook(settings.webhook.get_secret_value()))
            may.append(read_parameters(site, [site.parameter(WEBHOOK)]))
        options = host.Options(
            retention=settings.retention_days,
            room=foundation.settings.root_volume_size * _MIB_OF_GIB,
            topic=site.arn("sns", site.name("alerts")),
            webhook=settings.webhook is not None,
            namespace=self.namespace,
        )
        name = "monitoring-1"
        self.machines.append(
            Machine(
                name,
                site=site,
                foundation=foundation,
                identity=self._identity(may=may),
                place=InSubnet(network.private[0]),
                instance_type=settings.instance_type,
                user_data=self._rendered(lambda: host.user_data(self._facts(name), options)),
                after=needed,
                opts=self._child,
            )
        )
        self.record = self._publish()
        self.forwarding = pulumi.Output.format(
            "aws ssm start-session --region {} --target {}"
            " --document-name AWS-StartPortForwardingSession --parameters {}",
            site.region,
            self.machines[0].id,
            f"portNumber={PROMETHEUS},localPortNumber={PROMETHEUS}",
        )
        """How to have http://localhost:9090/user/ on one's own machine."""
        self.register_outputs({"topic": self.topic})

    def _webhook(self, url: str) -> pulumi.Resource:
        return aws.ssm.Parameter(
            "monitoring-webhook",
            name=self._site.parameter(WEBHOOK),
            type="SecureString",
            value=pulumi.Output.secret(url),
            tags=self._site.tags("monitoring-webhook", self.role),
            opts=self._child,
        )
