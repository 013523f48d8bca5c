"""The application servers: all active, all alike, none with any state."""

from functools import partial

import pulumi

from components import settings
from components.app_release import release
from components.connections import Port
from components.database import Database
from components.fleet import NODE_EXPORTER, Fleet
from components.foundation import Foundation
from components.machine import InSubnet, Machine
from components.network import Network
from components.policies import read_parameters
from components.secrets import AppServerSecrets
from components.site import Site
from hosts import app_server as host

GUNICORN = Port("gunicorn", 8443)
HAPROXY = Port("haproxy", 8405)
"""What the one counts that knows the way to the database."""
_APP = "/opt/site/app"


class AppServers(Fleet):
    """Spread over the zones. A new release makes new machines, ready before the old ones drain."""

    port = GUNICORN
    exporters = (NODE_EXPORTER, HAPROXY)

    def __init__(
        self,
        *,
        site: Site,
        network: Network,
        foundation: Foundation,
        database: Database,
        settings: settings.AppServers,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(
            "app-server",
            site=site,
            network=network,
            foundation=foundation,
            ports=[GUNICORN],
            opts=opts,
        )
        self.settings = settings
        self.secrets = AppServerSecrets(
            "app-server-secrets", site=site, authorities=settings.authorities, opts=self._child
        )
        app = foundation.programs(
            "app",
            release(settings.folder, settings.module, foundation.settings),
            self.role,
            self,
        )
        identity = self._identity(
            may=[
                read_parameters(
                    site, [*database.secrets.for_applications, *self.secrets.for_app_servers]
                )
            ],
            programs=[app],
        )
        options = host.Options(
            port=GUNICORN.number,
            module=settings.module,
            health_path=settings.health_path,
            threads=settings.threads,
            workers=settings.workers,
            memory_max=settings.memory_max,
            request_timeout=settings.request_timeout,
            environment=settings.environment,
            database=database.schema,
        )
        for ordinal in range(1, settings.count + 1):
            name = f"app-server-{ordinal}"
            self.machines.append(
                Machine(
                    name,
                    site=site,
                    foundation=foundation,
                    identity=identity,
                    place=InSubnet(network.private[(ordinal - 1) % len(network.private)]),
                    instance_type=settings.instance_type,
                    user_data=self._rendered(
                        partial(host.user_data, self._facts(name, (app, _APP)), options)
                    ),
                    after=[database.secrets, self.secrets],
                    ready_after=[database.record, database.final_backup],
                    opts=self._child,
                )
            )
        self.record = self._publish()
        self.register_outputs({})
