"""A mail server, and its client: mail.py serve CERTIFICATES, mail.py send HOST PORT CERTIFICATES."""

import asyncio
import hashlib
import json
import smtplib
import ssl
import sys


class Inbox:
    """Takes what it is sent and says its hash, refuses one sender, and one that is too much."""

    async def handle_MAIL(self, server, session, envelope, address, options):
        if address == "refused@example.com":
            return "550 5.7.1 not from you"
        envelope.mail_from = address
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        return f"250 {len(envelope.content)} bytes, {hashlib.sha256(envelope.content).hexdigest()}, tls {session.ssl is not None}"


def serve(certificates):
    from aiosmtpd.smtp import SMTP

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates + "/server.pem", certificates + "/server.key")

    def session():
        return SMTP(Inbox(), hostname="mail", tls_context=context, enable_SMTPUTF8=True, data_size_limit=20 << 20, ident="mail")

    async def run():
        loop = asyncio.get_running_loop()
        plain = await loop.create_server(session, "", 2525)
        wrapped = await loop.create_server(session, "", 4650, ssl=context)
        await asyncio.gather(plain.serve_forever(), wrapped.serve_forever())

    asyncio.run(run())


def send(host, port, certificates):
    context = ssl.create_default_context(cafile=certificates + "/ca.pem")
    line = b"every line of this message is of no use at all\r\n"

    def tell(name, *said):
        print(json.dumps({"Name": name, "Body": repr(said)}), flush=True)

    def talk(name, c):
        tell(name + "-hello", c.ehlo("client")[0], sorted(c.esmtp_features))
        for size in (1, 1000, 200_000):
            c.mail("a@example.com"), c.rcpt("b@example.com")
            tell(f"{name}-message-{size}", c.data(line * size))
        c.mail("refused@example.com")
        tell(name + "-refused", c.mail("refused@example.com"))
        c.rset()
        tell(name + "-too-large", c.mail("a@example.com", ["SIZE=99999999"]))
        tell(name + "-unknown", c.docmd("TURN"))
        tell(name + "-quit", c.quit())

    if port == "465":
        talk("wrapped", smtplib.SMTP_SSL(host, int(port), timeout=60, context=context))
        return
    talk("plain", smtplib.SMTP(host, int(port), timeout=60))
    c = smtplib.SMTP(host, int(port), timeout=60)
    tell("starttls", c.starttls(context=context))
    talk("tls", c)


{"serve": serve, "send": send}[sys.argv[1]](*sys.argv[2:])
