import mailbox
import smtplib
import sys
import time
from email.message import EmailMessage

import pytest
from tallystick_cli.stack import ports
from tallystick_cli.stack.child import Child
from tallystick_cli.stack.program import Program


@pytest.fixture
def sink(layout):
    port = ports.choose()
    command = (sys.executable, "-m", "tallystick_cli.stack.mail_sink", str(port), str(layout.mail))
    child = Child.start(Program("mail", command, layout.log_file("mail")))
    deadline = time.monotonic() + 10
    while ports.is_free(port):
        assert child.is_alive
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield port
    child.ask_to_stop()
    child.wait_until_stopped(5)
    assert child.process.returncode == 0


def test_a_delivered_message_is_one_file_with_its_recipient(layout, sink):
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "tallystick@localhost", "cy@example.org", "Your link"
    message.set_content("https://127.0.0.1/sign-in/…")
    with smtplib.SMTP(ports.LOOPBACK, sink) as smtp:
        smtp.send_message(message)
    (delivered,) = mailbox.Maildir(layout.mail, create=False)
    assert delivered["X-Rcpt-To"] == "cy@example.org"
    assert delivered["Subject"] == "Your link"
    assert len(list((layout.mail / "new").iterdir())) == 1
