"""The site as Pulumi components: which machines and AWS resources there are.

What is on the machines is in `hosts/`; the names of the two packages' modules match.
"""
