"""An SMTP server that knows nothing but SCRAM, on a free port of 127.0.0.1, for the tests of channel binding. Python's scramp judges the sign-in, OpenSSL gives
the binding. Its settings are the JSON in the first argument. It prints its port, and then a line of JSON for each letter. While the file `broken` stands in its
folder, it takes other bytes for the binding than those of the session: what a session looks like that somebody in between has passed on."""

import base64
import hashlib
import json
import os
import socket
import sys
import threading

from OpenSSL import SSL, crypto
from scramp import ScramException, ScramMechanism, core

SETTINGS = json.loads(sys.argv[1])
NAMES = ["SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS"]
PRINTING = threading.Lock()
# scramp compares whatever data it is given and only knows no name of RFC 9266, because Python's own TLS has no exporter; OpenSSL's has.
core.CHANNEL_TYPES += ("tls-exporter",)


def say(value):
    with PRINTING:
        print(json.dumps(value), flush=True)


def context():
    made = SSL.Context(SSL.TLS_SERVER_METHOD)
    made.use_certificate_chain_file(SETTINGS["cert"])
    made.use_privatekey_file(SETTINGS["key"])
    if SETTINGS["binding"] == "tls-exporter":
        made.set_min_proto_version(SSL.TLS1_3_VERSION)
    else:
        made.set_max_proto_version(SSL.TLS1_2_VERSION)
    return made


def binding(connection):
    if SETTINGS["binding"] == "tls-exporter":
        data = connection.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")
    else:
        with open(SETTINGS["cert"], "rb") as file:
            certificate = crypto.load_certificate(crypto.FILETYPE_PEM, file.read())
        # The test authority signs by ECDSA with SHA-256.
        data = hashlib.sha256(crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)).digest()
    if os.path.exists("broken"):
        data = bytes(byte ^ 1 for byte in data)
    return (SETTINGS["binding"], data)


class Session:
    def __init__(self, stream):
        self.connection = SSL.Connection(CONTEXT, stream)
        self.connection.set_accept_state()
        self.connection.do_handshake()
        self.buffer = b""
        self.signed_in = None

    def say(self, line):
        self.connection.sendall(line.encode() + b"\r\n")

    def line(self):
        while b"\r\n" not in self.buffer:
            self.buffer += self.connection.recv(4096)
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line.decode()

    def ask(self, text):
        self.say("334 " + base64.b64encode(text.encode()).decode())
        return base64.b64decode(self.line()).decode()

    def sign_in(self, name, initial):
        mechanism = ScramMechanism(name)
        known = mechanism.make_auth_info(SETTINGS["password"], iteration_count=4096)

        def find(user):
            if user != SETTINGS["user"]:
                raise ScramException("no such user")
            return known

        exchange = mechanism.make_server(find, channel_binding=binding(self.connection))
        try:
            exchange.set_client_first(base64.b64decode(initial).decode())
            exchange.set_client_final(self.ask(exchange.get_server_first()))
            self.ask(exchange.get_server_final())
        except ScramException:
            return self.say("535 5.7.8 not let in")
        self.signed_in = {"method": name, "binding": SETTINGS["binding"] if name.endswith("-PLUS") else None, "user": SETTINGS["user"]}
        return self.say("235 2.7.0 welcome")

    def run(self):
        self.say("220 scram.example.org")
        while True:
            line = self.line()
            words = line.split(" ")
            verb = words[0].upper()
            if verb == "EHLO":
                self.say("250-scram.example.org")
                self.say("250 AUTH " + " ".join(NAMES))
            elif verb == "AUTH" and len(words) == 3 and words[1] in NAMES:
                self.sign_in(words[1], words[2])
            elif verb == "QUIT":
                return self.say("221 bye")
            elif self.signed_in is None:
                self.say("530 5.7.0 sign in first")
            elif verb == "DATA":
                self.say("354 go")
                while self.line() != ".":
                    pass
                say(self.signed_in)
                self.say("250 2.0.0 taken")
            else:
                self.say("250 ok")


def serve(stream):
    try:
        Session(stream).run()
    except (SSL.Error, OSError):
        pass  # The client left.


CONTEXT = context()
LISTENER = socket.create_server(("127.0.0.1", 0))
say({"port": LISTENER.getsockname()[1]})
while True:
    client, _ = LISTENER.accept()
    threading.Thread(target=serve, args=(client,), daemon=True).start()
