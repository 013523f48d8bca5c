"""The database's secrets: made once, kept in SSM Parameter Store, secret in the state.

A secret is made by a command because a command runs when its resource is created and not again:
`pulumi up --replace` with the command's URN makes a new one. (A value made in the program would be
another one each time; `ignore_changes` keeps the first, but through a replacement too.)

Passwords are exchanged that way, `scripts.rotate` does it. An authority is not: all have to trust
the new one before the first certificate of its comes along, so for a while there are two.
"""

from collections.abc import Sequence

import pulumi
import pulumi_aws as aws
from pulumi_command import local

from components.site import Site

PASSWORDS = ("application-password", "replication-password", "monitor-password")
AUTHORITY = "certificate-authority"
CERTIFICATE = "certificate-authority-certificate"


def authority_name(generation: int) -> str:
    """What the command is called that made an authority."""
    return AUTHORITY if generation == 1 else f"{AUTHORITY}-{generation}"


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


class DatabaseSecrets(pulumi.ComponentResource):
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
        super().__init__("site:secrets:DatabaseSecrets", name, None, opts)
        self._site = site
        self.for_databases = [
            self._parameter_name(secret) for secret in (*PASSWORDS, AUTHORITY, CERTIFICATE)
        ]
        self.for_applications = [
            self._parameter_name(PASSWORDS[0]),
            self._parameter_name(CERTIFICATE),
        ]
        for password in PASSWORDS:
            self._parameter(password, self._made(password, "password"))
        made = [
            self._made(authority_name(generation), "certificate-authority")
            for generation in authorities
        ]
        self._parameter(AUTHORITY, made[0])
        # Of the stored values, so that key and certificate are a pair whatever happens.
        certificates = [pulumi.Output.unsecret(one.apply(certificate_of)) for one in made]
        trusted = pulumi.Output.all(*certificates).apply("\n".join)
        self._parameter(CERTIFICATE, trusted, secret=False)
        self.register_outputs({})

    def _parameter_name(self, secret: str) -> str:
        return self._site.parameter(f"database/{secret}")

    def _made(self, name: str, kind: str) -> pulumi.Output[str]:
        made = local.Command(
            name,
            create=f".venv/bin/python -m components.new_secret {kind}",
            update='printf %s "${PULUMI_COMMAND_STDOUT:?}"',  # a change of this very line keeps it
            logging=local.Logging.NONE,
            opts=pulumi.ResourceOptions(
                parent=self,
                additional_secret_outputs=["stdout"],
            ),
        )
        return pulumi.Output.secret(made.stdout)

    def _parameter(self, name: str, value: pulumi.Output[str], *, secret: bool = True) -> None:
        aws.ssm.Parameter(
            name,
            name=self._parameter_name(name),
            type="SecureString" if secret else "String",
            value=value,
            tags=self._site.tags(name, "database"),
            opts=pulumi.ResourceOptions(parent=self),
        )
