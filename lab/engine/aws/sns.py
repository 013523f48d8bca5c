"""SNS: topics, and who hears of what is published to them."""

# ruff: noqa: ARG002  the interface gives every type more than it needs

from typing import ClassVar

from lab.engine.aws.base import TAGS, AwsResource, retag
from lab.engine.aws.cloud import Client, given, tag_list, tag_map
from lab.engine.plugin import Call, Gone
from lab.engine.schema import Properties, Property, same_json
from lab.engine.values import Props

ATTRIBUTES = {
    "displayName": "DisplayName",
    "kmsMasterKeyId": "KmsMasterKeyId",
    "policy": "Policy",
}


class _Sns(AwsResource):
    @property
    def sns(self) -> Client:
        return self.cloud.client("sns")


class Topic(_Sns):
    """aws_sns_topic, a standard one."""

    token = "aws:sns/topic:Topic"  # noqa: S105  a type's token
    taggable = True
    properties: ClassVar[Properties] = {
        "name": Property(computed=True, replaces=True, autoname=256),
        "displayName": Property(),
        "kmsMasterKeyId": Property(),
        "policy": Property(computed=True, same=same_json),
        **TAGS,
    }
    outputs = ("arn", "beginningArchiveTime", "owner")

    def create(self, inputs: Props, call: Call) -> str:
        made = self.sns.create_topic(
            Name=inputs["name"],
            Attributes=given(inputs, ATTRIBUTES),
            Tags=tag_list(inputs["tagsAll"]),
        )
        return str(made["TopicArn"])

    def read(self, resource_id: str, state: Props) -> Props:
        found = self.sns.get_topic_attributes(TopicArn=resource_id)["Attributes"]
        tags = self.sns.list_tags_for_resource(ResourceArn=resource_id)["Tags"]
        return {
            "name": resource_id.rpartition(":")[2],
            **{name: found.get(api) or None for name, api in ATTRIBUTES.items()},
            "arn": found["TopicArn"],
            "owner": found["Owner"],
            "beginningArchiveTime": "",
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
        for name in sorted(changed & ATTRIBUTES.keys()):
            self.sns.set_topic_attributes(
                TopicArn=resource_id,
                AttributeName=ATTRIBUTES[name],
                AttributeValue=inputs.get(name) or "",
            )
        if "tagsAll" in changed:
            retag(self.sns, state, inputs, ResourceArn=resource_id)

    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        self.sns.delete_topic(TopicArn=resource_id)


class TopicSubscription(_Sns):
    """aws_sns_topic_subscription. A mail address confirms nothing here, and need not."""

    token = "aws:sns/topicSubscription:TopicSubscription"  # noqa: S105
    properties: ClassVar[Properties] = {
        "confirmationTimeoutInMinutes": Property(default=1),
        "endpoint": Property(required=True, replaces=True),
        "endpointAutoConfirms": Property(default=False),
        "protocol": Property(
            required=True, replaces=True, choices=("email", "email-json", "http", "https", "sqs")
        ),
        "rawMessageDelivery": Property(default=False),
        "topic": Property(required=True, replaces=True),
    }
    outputs = ("arn", "confirmationWasAuthenticated", "ownerId", "pendingConfirmation")

    def create(self, inputs: Props, call: Call) -> str:
        made = self.sns.subscribe(
            TopicArn=inputs["topic"],
            Protocol=inputs["protocol"],
            Endpoint=inputs["endpoint"],
            ReturnSubscriptionArn=True,
        )
        return str(made["SubscriptionArn"])

    def settle(self, resource_id: str, inputs: Props, call: Call) -> None:
        if inputs["rawMessageDelivery"]:
            self._deliver(resource_id, inputs)

    def _deliver(self, resource_id: str, inputs: Props) -> None:
        self.sns.set_subscription_attributes(
            SubscriptionArn=resource_id,
            AttributeName="RawMessageDelivery",
            AttributeValue=str(bool(inputs["rawMessageDelivery"])).lower(),
        )

    def read(self, resource_id: str, state: Props) -> Props:
        pages = self.sns.get_paginator("list_subscriptions_by_topic").paginate(
            TopicArn=state["topic"]
        )
        if resource_id not in [
            s["SubscriptionArn"] for page in pages for s in page["Subscriptions"]
        ]:
            raise Gone(resource_id)
        found = self.sns.get_subscription_attributes(SubscriptionArn=resource_id)["Attributes"]
        return {
            "confirmationTimeoutInMinutes": state.get("confirmationTimeoutInMinutes", 1),
            "endpoint": found["Endpoint"],
            "endpointAutoConfirms": state.get("endpointAutoConfirms", False),
            "protocol": found["Protocol"],
            "rawMessageDelivery": found.get("RawMessageDelivery") == "true",
            "topic": found["TopicArn"],
            "arn": resource_id,
            "confirmationWasAuthenticated": found.get("ConfirmationWasAuthenticated") == "true",
            "ownerId": found.get("Owner") or self.cloud.account,
            "pendingConfirmation": found.get("PendingConfirmation") == "true",
        }

    def update(
        self,
        resource_id: str,
        state: Props,
        inputs: Props,
        changed: set[str],
        call: Call,
    ) -> None:
        if "rawMessageDelivery" in changed:
            self._deliver(resource_id, inputs)

    def delete(self, resource_id: str, state: Props, call: Call) -> None:
        self.sns.unsubscribe(SubscriptionArn=resource_id)


TYPES = (Topic, TopicSubscription)
