"""The main job's client minds what strangers may ask for, and finds the link that is new."""

import asyncio
import ssl
import time
from email.message import EmailMessage
from mailbox import Maildir

import pytest
from tallystick_chassis.budgets import ROUTE_BUDGETS
from tallystick_cli.cluster import main_job, steps
from tallystick_cli.cluster.mails import Window
from tallystick_cli.stack import authority
from tallystick_cli.stack.layout import Layout
from tallystick_cli.stack.mail_window import Shown, open_window

ADDRESS = main_job.address_of("run-1", "author")


def test_who_waits_for_a_certificates_page_asks_no_more_often_than_a_stranger_may():
    """With a ledger that stood still, the last word was that there were too many requests."""
    asked = steps._SETTLE_S / main_job._PAGE_POLL_S
    for budget in ROUTE_BUDGETS["verification GET /certs/verify/{token}"]:
        assert asked * budget.window_s / steps._SETTLE_S < budget.limit / 2


@pytest.fixture
def mail(tmp_path):
    layout = Layout.at(tmp_path / "stack")
    layout.create()
    authority.ensure_authority(layout)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.ensure_server(layout, "mail"))
    box = Maildir(layout.mail, create=True)

    def deliver(token):
        message = EmailMessage()
        message["To"] = ADDRESS
        message.set_content(f"Follow https://localhost:8443/sign-in/run-1/verify#request.{token}")
        box.add(b"X-Rcpt-To: " + ADDRESS.encode() + b"\r\n" + message.as_bytes())
        time.sleep(0.01)  # two files of one moment have no order

    with open_window("127.0.0.1", 0, Shown(layout.mail, main_job.MAIL_DOMAIN), context) as port:
        yield deliver, Window(f"https://127.0.0.1:{port}", ssl.create_default_context(cafile=str(layout.ca_file)))


def test_the_newest_link_is_taken_once(mail):
    deliver, window = mail

    async def read():
        return (await window.next_link(ADDRESS, timeout_s=0.0)).token

    for token in ("a" * 20, "b" * 20):
        deliver(token)
    assert asyncio.run(read()) == "b" * 20
    with pytest.raises(steps.StepFailed, match="no sign-in mail came"):
        asyncio.run(read())
    deliver("c" * 20)
    assert asyncio.run(read()) == "c" * 20
