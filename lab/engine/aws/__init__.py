"""A stand-in for Pulumi's aws plugin: the resource types this project uses, by boto3.

Which property replaces a resource and which updates it is looked up, per property, in the resource
schemas of hashicorp/terraform-provider-aws, which the real plugin wraps.
"""
