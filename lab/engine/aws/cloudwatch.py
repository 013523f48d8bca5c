"""CloudWatch: groups of logs, alarms, dashboards. Nobody in the lab looks if an alarm is due."""

# ruff: noqa: ARG002  the interface gives every type more than it needs

from typing import Any, ClassVar

from lab.engine.aws.base import TAGS, AwsResource, added_and_removed, retag
from lab.engine.aws.cloud import Client, given, items, mapping, only, tag_list, tag_map
from lab.engine.plugin import Call
from lab.engine.schema import Failure, Properties, Property, same_json
from lab.engine.values import Props


class LogGroup(AwsResource):
    """aws_cloudwatch_log_group. `skipDestroy` lets it be when the stack goes."""

    token = "aws:cloudwatch/logGroup:LogGroup"  # noqa: S105  a type's token
    taggable = True
    properties: ClassVar[Properties] = {
        "name": Property(computed=True, replaces=True, autoname=512),
        "retentionInDays": Property(default=0),
        "skipDestroy": Property(default=False),
        **TAGS,
    }
    outputs = ("arn",)

    @property
    def logs(self) -> Client:
        return self.cloud.client("logs")

    def create(self, inputs: Props, call: Call) -> str:
        self.logs.create_log_group(logGroupName=inputs["name"], tags=inputs["tagsAll"])
        return str(inputs["name"])

    def settle(self, resource_id: str, inputs: Props, call: Call) -> None:
        if inputs["retentionInDays"]:
            self._retain(resource_id, inputs)

    def _retain(self, resource_id: str, inputs: Props) -> None:
        if days := inputs["retentionInDays"]:
            self.logs.put_retention_policy(logGroupName=resource_id, retentionInDays=int(days))
        else:
            self.logs.delete_retention_policy(logGroupName=resource_id)

    def read(self, resource_id: str, state: Props) -> Props:
        groups = self.logs.describe_log_groups(logGroupNamePrefix=resource_id)["logGroups"]
        group = only([one for one in groups if one["logGroupName"] == resource_id], resource_id)
        arn = group["arn"].removesuffix(":*")
        tags = self.logs.list_tags_for_resource(resourceArn=arn).get("tags", {})
        return {
            "name": group["logGroupName"],
            "retentionInDays": group.get("retentionInDays", 0),
            "skipDestroy": state.get("skipDestroy", False),
            "arn": arn,
            **self.tags_found(dict(tags), state),
        }

    def update(
        self,
        resource_id: str,
        state: Props,
        inputs: Props,
        changed: set[str],
        call: Call,
    ) -> None:
        if "retentionInDays" in changed:
            self._retain(resource_id, inputs)
        if "tagsAll" in changed:
            added, removed = added_and_removed(state, inputs)
            if added:
                self.logs.tag_resource(resourceArn=state["arn"], tags=added)
            if removed:
                self.logs.untag_resource(resourceArn=state["arn"], tagKeys=removed)

    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        if not state.get("skipDestroy"):
            self.logs.delete_log_group(logGroupName=resource_id)


ALARM = {
    "alarmActions": "AlarmActions",
    "alarmDescription": "AlarmDescription",
    "comparisonOperator": "ComparisonOperator",
    "datapointsToAlarm": "DatapointsToAlarm",
    "insufficientDataActions": "InsufficientDataActions",
    "metricName": "MetricName",
    "namespace": "Namespace",
    "okActions": "OKActions",
    "statistic": "Statistic",
    "treatMissingData": "TreatMissingData",
    "unit": "Unit",
}
NUMBERS = {"evaluationPeriods": "EvaluationPeriods", "period": "Period", "threshold": "Threshold"}
COMPARISONS = (
    "GreaterThanOrEqualToThreshold",
    "GreaterThanThreshold",
    "LessThanThreshold",
    "LessThanOrEqualToThreshold",
)


class MetricAlarm(AwsResource):
    """aws_cloudwatch_metric_alarm of one metric and a statistic."""

    token = "aws:cloudwatch/metricAlarm:MetricAlarm"  # noqa: S105
    taggable = True
    properties: ClassVar[Properties] = {
        "name": Property(computed=True, replaces=True, autoname=255),
        "actionsEnabled": Property(default=True),
        "alarmActions": Property(unordered=True),
        "alarmDescription": Property(),
        "comparisonOperator": Property(required=True, choices=COMPARISONS),
        "datapointsToAlarm": Property(),
        "dimensions": Property(),
        "evaluationPeriods": Property(required=True),
        "insufficientDataActions": Property(unordered=True),
        "metricName": Property(required=True),
        "namespace": Property(required=True),
        "okActions": Property(unordered=True),
        "period": Property(required=True),
        "statistic": Property(
            required=True, choices=("SampleCount", "Average", "Sum", "Minimum", "Maximum")
        ),
        "threshold": Property(required=True),
        "treatMissingData": Property(
            default="missing", choices=("missing", "ignore", "breaching", "notBreaching")
        ),
        "unit": Property(),
        **TAGS,
    }
    outputs = ("arn",)

    @property
    def cloudwatch(self) -> Client:
        return self.cloud.client("cloudwatch")

    def _put(self, inputs: Props, **more: Any) -> None:
        dimensions = [
            {"Name": name, "Value": value}
            for name, value in sorted(mapping(inputs.get("dimensions")).items())
        ]
        numbers = {
            api: float(inputs[name]) if name == "threshold" else int(inputs[name])
            for name, api in NUMBERS.items()
        }
        self.cloudwatch.put_metric_alarm(
            AlarmName=inputs["name"],
            ActionsEnabled=inputs["actionsEnabled"],
            Dimensions=dimensions,
            **numbers,
            **given(inputs, ALARM),
            **more,
        )

    def create(self, inputs: Props, call: Call) -> str:
        self._put(inputs, Tags=tag_list(inputs["tagsAll"]))
        return str(inputs["name"])

    def read(self, resource_id: str, state: Props) -> Props:
        found = self.cloudwatch.describe_alarms(AlarmNames=[resource_id])["MetricAlarms"]
        alarm = only(found, resource_id)
        tags = self.cloudwatch.list_tags_for_resource(ResourceARN=alarm["AlarmArn"])["Tags"]
        lists = {"alarmActions", "okActions", "insufficientDataActions"}
        dimensions = {one["Name"]: one["Value"] for one in items(alarm.get("Dimensions"))}
        return {
            "name": alarm["AlarmName"],
            "actionsEnabled": bool(alarm["ActionsEnabled"]),
            "dimensions": dimensions or state.get("dimensions"),
            **{name: alarm[api] for name, api in NUMBERS.items()},
            **{
                name: (alarm.get(api) or None) if name in lists else alarm.get(api)
                for name, api in ALARM.items()
            },
            "arn": alarm["AlarmArn"],
            **self.tags_found(tag_map(tags), state),
        }

    def update(
        self,
        resource_id: str,
        state: Props,
        inputs: Props,
        changed: set[str],
        call: Call,
    ) -> None:
        if changed - {"tags", "tagsAll"}:
            self._put(inputs)
        if "tagsAll" in changed:
            retag(self.cloudwatch, state, inputs, ResourceARN=state["arn"])

    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        self.cloudwatch.delete_alarms(AlarmNames=[resource_id])


class Dashboard(AwsResource):
    """aws_cloudwatch_dashboard. It takes no tags."""

    token = "aws:cloudwatch/dashboard:Dashboard"  # noqa: S105
    properties: ClassVar[Properties] = {
        "dashboardBody": Property(required=True, same=same_json),
        "dashboardName": Property(required=True, replaces=True),
    }
    outputs = ("dashboardArn",)

    @property
    def cloudwatch(self) -> Client:
        return self.cloud.client("cloudwatch")

    def validate(self, inputs: Props) -> list[Failure]:
        name = inputs["dashboardName"]
        if isinstance(name, str) and not name.replace("-", "").replace("_", "").isalnum():
            return [Failure("dashboardName", "letters, digits, dashes and underscores")]
        return []

    def _put(self, inputs: Props) -> None:
        self.cloudwatch.put_dashboard(
            DashboardName=inputs["dashboardName"], DashboardBody=inputs["dashboardBody"]
        )

    def create(self, inputs: Props, call: Call) -> str:
        self._put(inputs)
        return str(inputs["dashboardName"])

    def read(self, resource_id: str, state: Props) -> Props:
        found = self.cloudwatch.get_dashboard(DashboardName=resource_id)
        return {
            "dashboardName": found["DashboardName"],
            "dashboardBody": found["DashboardBody"],
            "dashboardArn": found["DashboardArn"],
        }

    def update(
        self,
        resource_id: str,
        state: Props,
        inputs: Props,
        changed: set[str],
        call: Call,
    ) -> None:
        self._put(inputs)

    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        self.cloudwatch.delete_dashboards(DashboardNames=[resource_id])


TYPES = (LogGroup, MetricAlarm, Dashboard)
