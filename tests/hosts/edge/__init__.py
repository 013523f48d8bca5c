"""A load balancer's own HAProxy, with its own configuration, in a network without anybody else."""
