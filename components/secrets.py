"""Secrets of the stack: made once, kept in SSM Parameter Store, secret in the state.

A secret is made by a command because a command runs when its resource is created and not again:
`pulumi up --replace` with the command's URN makes a new one. (A value made in the program would be
another one each time; `ignore_changes` keeps the first, but through a replacement too.)

Passwords are exchanged that way, `scripts.rotate` does it. An authority is not: all have to trust
the new one before the first certificate of its comes along, so for a while there are two.
"""

from collections.abc import Sequence
from typing import Any

import pulumi
import pulumi_aws as aws
from pulumi_command import local

from components.site import Site

PASSWORDS = ("application-password", "replication-password", "monitor-password")
AUTHORITY = "certificate-authority"
CERTIFICATE = "certificate-authority-certificate"


def certificate_of(authority: str) -> str:
    """The certificate alone, of a private key and its certificate in PEM.

    Raises:
        ValueError: it is something else.
    """
    key, mark, certificate = authority.partition("-----BEGIN CERTIFICATE-----")
    if not key or not mark:
        msg = "a private key and its certificate were expected, both in PEM"
        raise ValueError(msg)
    return mark + certificate


class Secrets(pulumi.ComponentResource):
    """Base of a role's secrets.

    Args:
        role: Whose they are.
        folder: Of their parameters' names.
        prefix: What their resources' names begin with.
    """

    def __init__(
        self,
        kind: str,
        name: str,
        *,
        site: Site,
        role: str,
        folder: str,
        prefix: str = "",
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(f"site:secrets:{kind}", name, None, opts)
        self._site = site
        self._role = role
        self._folder = folder
        self._prefix = prefix

    def _parameter_name(self, secret: str) -> str:
        return self._site.parameter(f"{self._folder}/{secret}")

    def _made(self, name: str, kind: pulumi.Input[str], **options: Any) -> pulumi.Output[str]:
        made = local.Command(
            f"{self._prefix}{name}",
            create=pulumi.Output.concat(".venv/bin/python -m components.new_secret ", kind),
            update='printf %s "${PULUMI_COMMAND_STDOUT:?}"',  # a change of this very line keeps it
            logging=local.Logging.NONE,
            opts=pulumi.ResourceOptions(
                parent=self,
                additional_secret_outputs=["stdout"],
            ),
            **options,
        )
        return pulumi.Output.secret(made.stdout)

    def _parameter(
        self,
        name: str,
        value: pulumi.Input[str],
        *,
        secret: bool = True,
        written_by_machines: bool = False,
        tier: str | None = None,
    ) -> None:
        aws.ssm.Parameter(
            f"{self._prefix}{name}",
            name=self._parameter_name(name),
            type="SecureString" if secret else "String",
            value=value,
            tier=tier,
            tags=self._site.tags(f"{self._prefix}{name}", self._role),
            opts=pulumi.ResourceOptions(
                parent=self, ignore_changes=["value"] if written_by_machines else None
            ),
        )

    def _authority(self, kind: str, generations: Sequence[int]) -> None:
        """An authority of certificates: the first generation signs, all of them are trusted."""
        made = [
            self._made(AUTHORITY if generation == 1 else f"{AUTHORITY}-{generation}", kind)
            for generation in generations
        ]
        self._parameter(AUTHORITY, made[0])
        # Of the stored values, so that key and certificate are a pair whatever happens.
        certificates = [pulumi.Output.unsecret(one.apply(certificate_of)) for one in made]
        trusted = pulumi.Output.all(*certificates).apply("\n".join)
        self._parameter(CERTIFICATE, trusted, secret=False)


class DatabaseSecrets(Secrets):
    """Passwords of the accounts, and the certificate authority of the machines' certificates.

    Args:
        authorities: Generations of the authority: the first signs, all of them are trusted.
    """

    def __init__(
        self,
        name: str,
        *,
        site: Site,
        authorities: Sequence[int] = (1,),
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(
            "DatabaseSecrets", name, site=site, role="database", folder="database", opts=opts
        )
        self.for_databases = [
            self._parameter_name(secret) for secret in (*PASSWORDS, AUTHORITY, CERTIFICATE)
        ]
        self.for_applications = [
            self._parameter_name(PASSWORDS[0]),
            self._parameter_name(CERTIFICATE),
        ]
        for password in PASSWORDS:
            self._parameter(password, self._made(password, "password"))
        self._authority("certificate-authority", authorities)
        self.register_outputs({})


class AppServerSecrets(Secrets):
    """The certificate authority of the application servers: another one than the database's.

    Whoever has an application server's key, or even its machine, must not be able to pose as a
    database.

    Args:
        authorities: Generations of the authority: the first signs, all of them are trusted.
    """

    def __init__(
        self,
        name: str,
        *,
        site: Site,
        authorities: Sequence[int] = (1,),
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(
            "AppServerSecrets",
            name,
            site=site,
            role="app-server",
            folder="app-server",
            prefix="app-server-",
            opts=opts,
        )
        self.for_app_servers = [self._parameter_name(secret) for secret in (AUTHORITY, CERTIFICATE)]
        self.for_load_balancers = [self._parameter_name(CERTIFICATE)]
        self._authority("app-server-authority", authorities)
        self.register_outputs({})
