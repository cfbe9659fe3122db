"""A NATS of one's own, in the configuration that the page on installing gives: it starts, and takes the streams."""

import json
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest
from tallystick_cli.cluster import streams
from tallystick_cli.cluster.credentials import fill
from tallystick_cli.cluster.kubernetes import bring_up_to_date
from tallystick_cli.cluster.plan import Database, Plan
from tallystick_cli.stack import authority, ports
from tallystick_cli.stack.child import Child
from tallystick_cli.stack.program import Program
from tallystick_cli.stack.temporary import temporary_folder

from .test_credentials import Cluster

pytestmark = pytest.mark.control("X-10")

PAGE = (Path(__file__).parents[3] / "docs/howto/install.md").read_text()
JQ = shutil.which("jq")
PLAN = Plan("exams-tallystick", "exams", Database("pg.example.org"))


async def test_the_pages_configuration_starts_and_takes_the_streams():
    (text,) = re.findall(r"^```\n(server_name: .*?)```$", PAGE, re.MULTILINE | re.DOTALL)
    made = fill(PLAN, {})
    with temporary_folder() as layout:
        layout.create()
        authority.ensure_authority(layout)
        certificate, key = authority.ensure_server(layout, "nats")
        port = ports.choose([])
        for there, here in (
            ("0.0.0.0:4222", f"127.0.0.1:{port}"),
            ("/etc/nats/tls.crt", str(certificate)),
            ("/etc/nats/tls.key", str(key)),
            ("/var/lib/nats", str(layout.nats / "store")),
        ):
            assert text.count(there) == 1
            text = text.replace(there, here)
        (layout.nats / "nats.conf").write_text(text)
        (layout.nats / "accounts.conf").write_text(streams.accounts_text())
        public = made["exams-tallystick-nats-users"].data.items()
        environment = {name: value.decode() for name, value in public}
        command = (str(Path(sysconfig.get_path("scripts")) / "nats-server"), "-c", str(layout.nats / "nats.conf"))
        server = Child.start(Program("nats", command, layout.log_file("nats"), environment))
        try:
            seed = made["exams-tallystick-nats-admin"].data["seed"].decode()
            await streams.put(f"tls://localhost:{port}", seed, layout.ca_file, 1, 30.0)
        finally:
            server.process.kill()
            server.process.wait()


@pytest.mark.skipif(JQ is None, reason="the page's commands are jq's")
def test_the_pages_copies_of_the_public_keys_have_all_and_belong_to_no_namespace():
    cluster = Cluster()
    bring_up_to_date(PLAN, cluster.ask)
    users = {"kind": "ConfigMap", **cluster.objects["/api/v1/namespaces/exams/configmaps/exams-tallystick-nats-users"]}

    def jq(*arguments):
        return subprocess.run([JQ, *arguments], input=json.dumps(users), check=True, capture_output=True, text=True)

    (copied,) = re.findall(r"\| jq '([^']+)' \| kubectl --namespace nats", PAGE)
    copy = json.loads(jq(copied).stdout)
    assert copy["metadata"] == {"name": "exams-tallystick-nats-users"}
    assert (copy["kind"], copy["apiVersion"], copy["data"]) == ("ConfigMap", "v1", users["data"])
    (listed,) = re.findall(r"jq -r '([^']+)' > nats-users\.env", PAGE)
    assert dict(line.split("=") for line in jq("-r", listed).stdout.splitlines()) == users["data"]
