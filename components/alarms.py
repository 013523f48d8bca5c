"""CloudWatch's alarms, for what a dead monitoring machine cannot say; and a dashboard beside them.

Prometheus says when the site is not well. That Prometheus itself is, or is not, has to be said from
outside: a sign of life that goes through all of it, and EC2's own checks of the machines.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
import pulumi_aws as aws

from components.machine import Machine
from components.monitoring import Monitoring
from components.site import Site
from hosts.monitoring.relay import METRIC

_MINUTE = 60
_WIDTH, _HEIGHT = 12, 6
"""Of a widget, in the dashboard's grid of 24 columns."""


class Alarms(pulumi.ComponentResource):
    """One for each machine, and one for the monitoring as a whole. They publish where it does."""

    def __init__(
        self,
        name: str,
        *,
        site: Site,
        machines: Sequence[Machine],
        monitoring: Monitoring,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("site:alarms:Alarms", name, None, opts)
        self._site = site
        self._topic = monitoring.topic
        self._child = pulumi.ResourceOptions(parent=self)
        for machine in machines:
            self._alarm(
                f"{machine.name}-status",
                f"EC2's status checks of {machine.name} fail: docs/operations.md#status-check",
                namespace="AWS/EC2",
                metric="StatusCheckFailed",
                dimensions={"InstanceId": machine.id},
                comparison="GreaterThanThreshold",
                # A machine that was just made, or replaced, has no checks yet.
                missing="missing",
            )
        self._alarm(
            "monitoring-sign-of-life",
            "Prometheus, Alertmanager or their machine says nothing any more:"
            " docs/operations.md#monitoring-is-silent",
            namespace=monitoring.namespace,
            metric=METRIC,
            dimensions={},
            comparison="LessThanThreshold",
            missing="breaching",
            after=[monitoring.machines[0].ready],
        )
        ids = pulumi.Output.all(**{machine.name: machine.id for machine in machines})
        aws.cloudwatch.Dashboard(
            "site",
            dashboard_name=site.name("site"),
            dashboard_body=ids.apply(lambda known: dashboard(site, known, monitoring.namespace)),
            opts=self._child,
        )
        self.register_outputs({})

    def _alarm(
        self,
        name: str,
        description: str,
        *,
        namespace: str,
        metric: str,
        dimensions: Mapping[str, pulumi.Input[str]],
        comparison: str,
        missing: str,
        after: Sequence[pulumi.Resource] = (),
    ) -> None:
        aws.cloudwatch.MetricAlarm(
            name,
            name=self._site.name(name),
            alarm_description=description,
            namespace=namespace,
            metric_name=metric,
            dimensions=dimensions,
            statistic="Maximum",
            period=_MINUTE,
            evaluation_periods=3,
            threshold=0 if comparison == "GreaterThanThreshold" else 1,
            comparison_operator=comparison,
            treat_missing_data=missing,
            alarm_actions=[self._topic],
            ok_actions=[self._topic],
            tags=self._site.tags(name),
            opts=pulumi.ResourceOptions(parent=self, depends_on=after),
        )


def dashboard(site: Site, machines: Mapping[str, str], namespace: str) -> str:
    """What CloudWatch knows by itself of these machines, name → instance id. Pure."""

    def of_machines(metric: str, statistic: str = "Average") -> list[Any]:
        return [
            ["AWS/EC2", metric, "InstanceId", instance, {"label": name, "stat": statistic}]
            for name, instance in sorted(machines.items())
        ]

    table = site.name("coordination")
    latency = ("AWS/DynamoDB", "SuccessfulRequestLatency")
    graphs = {
        "Processors, %": of_machines("CPUUtilization"),
        "Status checks failed": of_machines("StatusCheckFailed", "Maximum"),
        "Network out, bytes": of_machines("NetworkOut"),
        "The monitoring's sign of life": [[namespace, METRIC, {"stat": "Sum"}]],
        "Coordination table: throttled": [
            ["AWS/DynamoDB", kind, "TableName", table, {"stat": "Sum"}]
            for kind in ("ReadThrottleEvents", "WriteThrottleEvents")
        ],
        "Coordination table: latency, ms": [
            [*latency, "TableName", table, "Operation", operation, {"stat": "p99"}]
            for operation in ("GetItem", "UpdateItem")
        ],
    }
    properties: list[tuple[str, dict[str, Any]]] = [
        ("metric", {"title": title, "metrics": metrics, "period": _MINUTE, "view": "timeSeries"})
        for title, metrics in graphs.items()
    ]
    query = (
        f"SOURCE '{site.log_group}' | fields @timestamp, @logStream, unit, message"
        " | filter priority <= 3 | sort @timestamp desc | limit 50"
    )
    properties.append(("log", {"title": "Errors in the journals", "query": query, "view": "table"}))
    widgets = [
        {
            "type": kind,
            "x": _WIDTH * (at % 2),
            "y": _HEIGHT * (at // 2),
            "width": _WIDTH,
            "height": _HEIGHT,
            "properties": {**values, "region": site.region},
        }
        for at, (kind, values) in enumerate(properties)
    ]
    return json.dumps({"widgets": widgets}, sort_keys=True)
