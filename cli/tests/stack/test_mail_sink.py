import http.client
import json
import mailbox
import smtplib
import ssl
import subprocess
import sys
import time
from email.message import EmailMessage

import pytest
from tallystick_cli.stack import authority, ports
from tallystick_cli.stack.child import Child
from tallystick_cli.stack.program import Program

COMMAND = (sys.executable, "-m", "tallystick_cli.stack.mail_sink")


@pytest.fixture
def options():
    return ()


@pytest.fixture
def sink(layout, options):
    port = ports.choose()
    command = (*COMMAND, str(port), str(layout.mail), *options)
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


class TestWithCertificate:
    @pytest.fixture
    def options(self, layout):
        for folder in (layout.secrets, layout.authority):
            folder.mkdir(parents=True, exist_ok=True)
        authority.ensure_authority(layout)
        certificate, key = authority.ensure_server(layout, "mail")
        return ("--certificate", str(certificate), "--key", str(key))

    def test_mail_is_taken_after_starttls_and_not_before(self, layout, sink):
        trusting = ssl.create_default_context(cafile=str(layout.ca_file))
        with smtplib.SMTP("localhost", sink) as smtp:
            with pytest.raises(smtplib.SMTPSenderRefused, match="STARTTLS"):
                smtp.sendmail("a@example.org", ["b@example.org"], "Subject: in the clear")
            smtp.starttls(context=trusting)
            smtp.sendmail("a@example.org", ["b@example.org"], "Subject: sealed")
        (delivered,) = mailbox.Maildir(layout.mail, create=False)
        assert delivered["Subject"] == "sealed"

    class TestWithWindow:
        @pytest.fixture
        def window(self):
            return ports.choose()

        @pytest.fixture
        def options(self, options, window):
            return (*options, f"--window-port={window}", "--window-domain=made-up.example")

        @pytest.fixture
        def shown(self, layout, sink, window):
            trusting = ssl.create_default_context(cafile=str(layout.ca_file))
            with smtplib.SMTP("localhost", sink) as smtp:
                smtp.starttls(context=trusting)
                for to, subject in (
                    (["ada@run.made-up.example"], "first"),
                    (["cy@acme.example"], "hers alone"),
                    (["Ada@run.made-up.example", "bo@run.made-up.example"], "second"),
                ):
                    smtp.sendmail("a@example.org", to, f"Subject: {subject}")

            def ask(path, method="GET"):
                connection = http.client.HTTPSConnection("localhost", window, timeout=10, context=trusting)
                try:
                    connection.request(method, path)
                    answer = connection.getresponse()
                    return answer.status, answer.read()
                finally:
                    connection.close()

            return ask

        def test_made_up_peoples_mails_are_shown_in_order(self, shown):
            status, body = shown("/messages/ada%40run.made-up.example")
            assert status == 200
            assert [each.strip() for each in json.loads(body)["messages"]] == ["Subject: first", "Subject: second"]
            assert len(json.loads(shown("/messages/bo@run.made-up.example")[1])["messages"]) == 1
            assert json.loads(shown("/messages/nobody@run.made-up.example")[1])["messages"] == []

        @pytest.mark.parametrize(
            "path",
            [
                "/messages/cy@acme.example",
                "/messages/cy@acme.example,%20ada@run.made-up.example/..",
                "/messages/",
                "/",
                "/messages/ada@run.made-up.example.acme.example",
                "/messages/../new",
            ],
        )
        def test_nobody_elses_mail_is_shown(self, shown, path):
            status, body = shown(path)
            assert (status, json.loads(body)["messages"]) == (404, [])

        def test_nothing_can_be_changed_through_it(self, layout, shown):
            before = {each.name for each in (layout.mail / "new").iterdir()}
            for method in ("POST", "PUT", "DELETE"):
                assert shown("/messages/ada@run.made-up.example", method)[0] == 501
            assert {each.name for each in (layout.mail / "new").iterdir()} == before


def test_a_window_is_not_opened_in_the_clear(tmp_path):
    done = subprocess.run(
        [*COMMAND, "2525", str(tmp_path), "--window-port=8443", "--window-domain=made-up.example"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "--certificate and --key" in done.stderr


def test_other_machines_mail_is_not_taken_in_the_clear(tmp_path):
    done = subprocess.run(
        [*COMMAND, "2525", str(tmp_path), "--host=0.0.0.0"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "over TLS only" in done.stderr
