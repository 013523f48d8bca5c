"""A program of a test's, run in the machine image beside a real mysqld with the site's own files.

It runs on the image's Python with the packages that a machine has. `hosts` is there as on a
machine, certificate and empty database are made by its own functions.
"""

import json
from pathlib import Path
from typing import Any

from hosts.database import render
from lab import image
from tests.hosts import values

HOSTS = Path(__file__).parents[2] / "hosts"

FRAME = """
import json, subprocess, sys, time
from pathlib import Path
from hosts.database import certificate, volume
from hosts.database.mysql import Account, MySQLError, local, remote

authority = Path("/test/authority.pem").read_text()
answers = {}
Path("/var/lib/mysql").mkdir(exist_ok=True)
signing, _, _ = authority.partition("=====")
certificate.make(signing, ["database-1.lab.site.internal", "localhost"], ["127.0.0.1"])
volume.initialise()

def start():
    server = subprocess.Popen(["mysqld", "--user=mysql"], stderr=open("/tmp/mysqld.log", "a"))
    for _ in range(300):
        try:
            with local():
                return server
        except MySQLError:
            assert server.poll() is None, open("/tmp/mysqld.log").read()[-3000:]
            time.sleep(0.1)
    raise AssertionError(open("/tmp/mysqld.log").read()[-3000:])

def stop(server):
    server.terminate()
    server.wait(60)

"""


def run(folder: Path, script: str, authority: str = "", cnf: str = "") -> Any:
    """Runs a test's own lines after `FRAME`, as JSON what they leave in `answers`."""
    folder.chmod(0o755)
    program, site, given = folder / "program.py", folder / "zz-site.cnf", folder / "authority.pem"
    program.write_text(FRAME + script + "\nprint(json.dumps(answers))\n")
    text = render.my_cnf(values.facts("database"), values.database_options())
    site.write_text(text + cnf)
    given.write_text(authority)
    done = image.run(
        [
            "env",
            "PYTHONPATH=/opt/site",
            "sh",
            "-c",
            "mkdir -p /run/mysqld && chown mysql: /run/mysqld && python3 /test/program.py",
        ],
        {
            HOSTS: "/opt/site/hosts",
            program: "/test/program.py",
            given: "/test/authority.pem",
            site: "/etc/mysql/mysql.conf.d/zz-site.cnf",
        },
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])
