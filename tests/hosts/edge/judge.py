"""sslyze's opinion of a server on port 443: `judge.py NAME AUTHORITY [ADDRESS]`, as JSON.

A program of its own, because it is to run in a load balancer's network.
"""

import json
import sys
from pathlib import Path

from sslyze.mozilla_tls_profile.tls_config_checker import (
    SCAN_COMMANDS_NEEDED_BY_MOZILLA_CHECKER,
    MozillaTlsConfiguration,
    ServerNotCompliantWithTlsConfiguration,
    TlsConfigurationEnum,
    check_server_against_tls_configuration,
)
from sslyze.plugins.certificate_info.implementation import CertificateInfoExtraArgument
from sslyze.scanner.models import ScanCommandsExtraArguments, ServerScanRequest
from sslyze.scanner.scanner import Scanner
from sslyze.server_setting import ServerNetworkConfiguration, ServerNetworkLocation


def main(name: str, authority: str, address: str = "127.0.0.1") -> dict[str, object]:
    scanner = Scanner()
    scanner.queue_scans(
        [
            ServerScanRequest(
                server_location=ServerNetworkLocation(name, 443, ip_address=address),
                network_configuration=ServerNetworkConfiguration(tls_server_name_indication=name),
                scan_commands=SCAN_COMMANDS_NEEDED_BY_MOZILLA_CHECKER,
                scan_commands_extra_arguments=ScanCommandsExtraArguments(
                    certificate_info=CertificateInfoExtraArgument(custom_ca_file=Path(authority))
                ),
            )
        ]
    )
    (found,) = scanner.get_results()
    issues: dict[str, str] = {}
    try:
        check_server_against_tls_configuration(
            found, MozillaTlsConfiguration.get(TlsConfigurationEnum.MOZILLA_INTERMEDIATE)
        )
    except ServerNotCompliantWithTlsConfiguration as error:
        issues = error.issues
    results = found.scan_result
    assert results
    ciphers = (results.tls_1_2_cipher_suites.result, results.tls_1_3_cipher_suites.result)
    curves, renegotiation = results.elliptic_curves.result, results.session_renegotiation.result
    assert all(ciphers)
    assert curves
    assert renegotiation
    return {
        "issues": issues,
        "ciphers": [
            [one.cipher_suite.name for one in of.accepted_cipher_suites] for of in ciphers if of
        ],
        "curves": [curve.name for curve in curves.supported_curves or []],
        "renegotiates": renegotiation.is_vulnerable_to_client_renegotiation_dos,
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
