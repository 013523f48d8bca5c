"""Draw a deployed stack, from its own resources, with AWS's icons.

python -m scripts.diagram [--stack S] [--export FILE] [--output docs/architecture.png] [--json]
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scripts import deployed
from scripts.command import DONE, STATUSES, NotAskedError, attempt, teller
from scripts.picture import Machine, Picture, read

TITLES = {
    "load-balancer": "load balancers (HAProxy)",
    "app-server": "application servers",
    "database": "databases (MySQL)",
    "monitoring": "monitoring (Prometheus)",
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
    from diagrams.onprem.monitoring import Prometheus  # noqa: PLC0415

    icons = {
        "load-balancer": ElbClassicLoadBalancer,
        "database": RDSMysqlInstance,
        "monitoring": Prometheus,
    }
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
                if not members:
                    continue
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


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    said = (__doc__ or "").split("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m scripts.diagram", description=said[0], epilog=STATUSES
    )
    parser.add_argument("--stack", help="the stack to draw; without it the one that is selected")
    parser.add_argument("--export", type=Path, help="a file that `pulumi stack export` wrote")
    parser.add_argument("--output", type=Path, default=Path("docs/architecture.png"))
    parser.add_argument("--json", action="store_true", help="draw nothing: say what would be drawn")
    asked = parser.parse_args(arguments)

    def work() -> int:
        picture = read(_export(asked.export, asked.stack))
        if asked.json:
            print(json.dumps(asdict(picture), indent=1))
            return DONE
        if shutil.which("dot") is None:
            message = "Graphviz draws the picture and is not there: apt-get install graphviz"
            raise NotAskedError(message)
        draw(picture, asked.output)
        print(asked.output)
        return DONE

    tell = teller(as_json=asked.json, prefix="diagram: ")
    return attempt(work, tell, interrupted="interrupted", refusals=(OSError,))


def _export(file: Path | None, stack: str | None) -> dict[str, Any]:
    if file is None:
        chosen = ["--stack", stack] if stack else []
        return json.loads(deployed.pulumi("stack", "export", *chosen))
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise NotAskedError(f"{file} cannot be read as an export: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
