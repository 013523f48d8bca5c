"""The certificate that clients see: a parameter that every load balancer reads and follows.

It comes from the settings; or by ACME, if there is a domain, and then the load balancers write it;
or it is self-signed. With ACME it is self-signed until the first one is there.
"""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import pulumi
from cryptography import x509

from components import settings
from components.policies import Statement, write_parameter
from components.secrets import Secrets, certificate_of
from components.site import Site
from hosts.load_balancer import Acme

LAST_DAYS = 30
"""Before the end of a certificate that nobody renews, from which on every `pulumi up` says so."""


@dataclass(frozen=True)
class Follows:
    """What load balancers may do, and are told, to have the certificate."""

    reads: Sequence[str]
    """Names of parameters."""
    may: Sequence[Statement]
    items: Sequence[str]
    """Of the coordination table."""
    acme: Acme | None


class EdgeCertificate(Secrets):
    """The parameter with key and certificate, and what its renewal takes.

    Args:
        addresses: The public ones, which a self-signed certificate is for.
    """

    def __init__(
        self,
        name: str,
        *,
        site: Site,
        settings: settings.LoadBalancers,
        addresses: Sequence[pulumi.Output[str]],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(
            "EdgeCertificate",
            name,
            site=site,
            role="load-balancer",
            folder="edge",
            prefix="edge-",
            opts=opts,
        )
        self.own: pulumi.Output[str] | None = None
        """The self-signed certificate: what a client has to trust that is to trust the site."""
        acme: Acme | None = None
        if settings.tls.pem:
            value = pulumi.Output.secret(settings.tls.pem)
            _warn_of_the_end(settings.tls.pem, "set another one with `pulumi config set`")
        else:
            value = self._self_signed(settings.domain, addresses)
            if settings.domain:
                acme = self._acme(settings.domain, settings.tls.acme)
            else:
                self.own = pulumi.Output.unsecret(value.apply(certificate_of))
                _warn_of_self_signed(self.own)
        # Key and chain may be more than a standard parameter's 4 KiB.
        self._parameter(
            "certificate", value, written_by_machines=bool(acme), tier="Intelligent-Tiering"
        )
        self.follows = Follows(
            reads=[
                self._parameter_name(one)
                for one in (
                    "certificate",
                    *(["acme-account"] if acme else []),
                    *(["acme-authority"] if acme and acme.authority else []),
                )
            ],
            may=[write_parameter(site, self._parameter_name("certificate"))] if acme else [],
            items=["lease/certificate"] if acme else [],
            acme=acme,
        )
        self.register_outputs({})

    def _self_signed(
        self, domain: str | None, addresses: Sequence[pulumi.Output[str]]
    ) -> pulumi.Output[str]:
        names = pulumi.Output.all(*([domain] if domain else []), *addresses).apply(" ".join)
        return self._made(
            "self-signed-certificate", pulumi.Output.concat("self-signed ", names), triggers=[names]
        )

    def _acme(self, domain: str, given: settings.Acme) -> Acme:
        self._parameter("acme-account", self._made("acme-account", "private-key"))
        if given.authority:
            self._parameter("acme-authority", given.authority, secret=False)
        return Acme(
            domain=domain,
            directory=given.directory,
            contact=given.contact or "",
            authority=bool(given.authority),
        )


def _warn_of_self_signed(certificate: pulumi.Output[str]) -> None:
    pulumi.warn(
        "browsers will warn of this site: its certificate is self-signed. Set"
        " site:loadBalancers.domain to have one by ACME, or one of your own with"
        " site:loadBalancers.tls.certificate and key."
    )
    how = "make another with `pulumi up --replace` and the URN of edge-self-signed-certificate"
    certificate.apply(partial(_warn_of_the_end, how=how))


def _warn_of_the_end(pem: str, how: str) -> None:
    start = pem.index("-----BEGIN CERTIFICATE-----")
    certificate = x509.load_pem_x509_certificate(pem[start:].encode())
    left = certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    if left.days < LAST_DAYS:
        pulumi.warn(f"the load balancers' certificate ends in {left.days} days: {how}.")
