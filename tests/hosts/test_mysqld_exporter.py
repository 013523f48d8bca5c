"""The exporter beside a real mysqld, as its unit starts it, with the account that it is given."""

from pathlib import Path

import pytest

from tests.hosts import beside_mysqld
from tests.hosts.test_rotation import certificate_authority

SCRIPT = """
import re, shlex, urllib.request
from hosts.base import metrics, services
from hosts.database import accounts, exporter

server = start()
passwords = {purpose.user: f'a "word" of \\\\ {purpose.user}' for purpose in accounts.PURPOSES}
with local(30) as session:
    session.run("SET GLOBAL super_read_only = OFF")
    session.run("SET GLOBAL read_only = OFF")
    accounts.ensure(session, "site", passwords)
Path("/run/site").mkdir(exist_ok=True)
asked = []
services.systemctl = lambda *words: asked.append(words)
exporter.start_exporter = lambda unit: asked.append(("start once", unit))
exporter.keep(passwords)
exporter.keep(passwords)
answers["asked"] = asked
answers["mode"] = oct(exporter.FILE.stat().st_mode)

folder = "/opt/site/hosts/database/root/etc/systemd/system/prometheus-mysqld-exporter.service.d"
text = Path(folder, "site.conf").read_text().replace("\\\\\\n", " ")
(command,) = re.findall(r"^ExecStart=(/.+)$", text, flags=re.MULTILINE)

def counted():
    user = ["setpriv", "--reuid=prometheus", "--regid=prometheus", "--clear-groups"]
    with open("/tmp/exporter.log", "w") as log:
        running = subprocess.Popen([*user, *shlex.split(command)], stderr=log, stdout=log)
    for _ in range(100):
        try:
            with urllib.request.urlopen("http://127.0.0.1:9104/metrics", timeout=5) as answer:
                said = answer.read().decode()
                break
        except OSError:
            assert running.poll() is None, open("/tmp/exporter.log").read()
            time.sleep(0.1)
    running.terminate()
    running.wait(20)
    return said

said = counted()
answers["up"] = "mysql_up 1" in said.splitlines()
answers["queries"] = "mysql_global_status_queries " in said
answers["log"] = open("/tmp/exporter.log").read()
with local(30) as session:
    accounts.change_password(session, "monitor", "another")
    session.run("ALTER USER 'monitor'@'%' DISCARD OLD PASSWORD")
answers["with the old"] = "mysql_up 1" in counted().splitlines()
exporter.keep({**passwords, "monitor": "another"})
answers["with the new"] = "mysql_up 1" in counted().splitlines()
stop(server)
"""


@pytest.mark.usefixtures("machine_image")
def test_the_exporter_gets_in_with_the_password_that_is_valid(tmp_path: Path) -> None:
    answers = beside_mysqld.run(tmp_path, SCRIPT, certificate_authority())
    unit = "prometheus-mysqld-exporter.service"
    assert answers["asked"] == [["restart", unit], ["start once", unit], ["restart", unit]]
    assert answers["mode"] == "0o100400"
    assert (answers["up"], answers["queries"]) == (True, True), answers["log"]
    assert (answers["with the old"], answers["with the new"]) == (False, True)
