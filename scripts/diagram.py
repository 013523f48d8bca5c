"""Draw a deployed stack, from its own resources, with AWS's icons.

python -m scripts.diagram [--stack NAME] [--export FILE] [--output docs/architecture.png]
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from scripts.picture import Machine, Picture, PictureError, read

TITLES = {
    "load-balancer": "load balancers (HAProxy)",
    "app-server": "application servers",
    "database": "databases (MySQL)",
}


def draw(picture: Picture, output: Path) -> None:
    """Write `picture` as a PNG; the format is the suffix of `output`."""
    # Imported here: --help and a clear error must not wait for, or need, the drawing package.
    from diagrams import Cluster, Diagram, Edge, Node  # noqa: PLC0415
    from diagrams.aws.compute import EC2  # noqa: PLC0415
    from diagrams.aws.database import Dynamodb, RDSMysqlInstance  # noqa: PLC0415
    from diagrams.aws.network import ElbClassicLoadBalancer, Endpoint, NATGateway  # noqa: PLC0415
    from diagrams.aws.storage import SimpleStorageServiceS3  # noqa: PLC0415
    from diagrams.onprem.client import Users  # noqa: PLC0415

    icons = {"load-balancer": ElbClassicLoadBalancer, "database": RDSMysqlInstance}
    endpoints = {"s3": SimpleStorageServiceS3, "dynamodb": Dynamodb}

    def node(machine: Machine) -> Node:
        lines = [machine.name, machine.kind, machine.zone]
        return icons.get(machine.role, EC2)("\n".join(lines))

    with Diagram(
        f"stack {picture.stack}",
        filename=str(output.with_suffix("")),
        outformat=output.suffix.lstrip("."),
        show=False,
        direction="TB",
        graph_attr={"compound": "true", "nodesep": "0.9", "ranksep": "1.1", "pad": "0.4"},
    ):
        clients = Users("clients\n" + "\n".join(picture.addresses))
        with Cluster("VPC"):
            groups: dict[str, list[Node]] = {}
            for role, title in TITLES.items():
                members = picture.by_role(role)
                subnets = "public subnets" if any(m.public for m in members) else "private subnets"
                with Cluster(f"{title}, {subnets}"):
                    groups[role] = [node(machine) for machine in members]
            for zone in picture.nat_zones:
                NATGateway(f"NAT gateway\n{zone}")
            for service in picture.endpoints:
                endpoints.get(service, Endpoint)(f"endpoint\n{service}")
        for arrow in picture.arrows:
            sources = [clients] if arrow.source is None else groups[arrow.source]
            if arrow.source == arrow.target:
                first, *others = groups[arrow.target]
                for other in others:
                    # Not a constraint: the pair stands side by side.
                    # (The package takes any of Graphviz's attributes, and is typed as if none.)
                    attributes: Any = {"style": "bold", "constraint": "false"}
                    copying = Edge(label="replication", **attributes)
                    _ = first >> copying >> other
                continue
            for source in sources:
                for target in groups[arrow.target]:
                    label = arrow.ports if source is sources[0] else ""
                    _ = source >> Edge(label=label) >> target


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m scripts.diagram", description=__doc__)
    parser.add_argument("--stack", help="the stack to draw (default: the selected one)")
    parser.add_argument("--export", type=Path, help="a file that `pulumi stack export` wrote")
    parser.add_argument("--output", type=Path, default=Path("docs/architecture.png"))
    options = parser.parse_args()
    if shutil.which("dot") is None:
        sys.exit("diagram: Graphviz draws the picture and is not there: apt-get install graphviz")
    try:
        draw(read(json.loads(_export(options.export, options.stack))), options.output)
    except (PictureError, OSError, ValueError) as problem:
        sys.exit(f"diagram: {problem}")
    sys.stdout.write(f"{options.output}\n")


def _export(file: Path | None, stack: str | None) -> str:
    if file:
        return file.read_text()
    if shutil.which("pulumi") is None:
        sys.exit('diagram: no pulumi on PATH; for the lab first: eval "$(python -m lab env)"')
    chosen = ["--stack", stack] if stack else []
    run = subprocess.run(
        ["pulumi", "stack", "export", *chosen], capture_output=True, text=True, check=False
    )
    if run.returncode:
        sys.exit(f"diagram: pulumi stack export: {run.stderr.strip()}")
    return run.stdout


if __name__ == "__main__":
    main()
