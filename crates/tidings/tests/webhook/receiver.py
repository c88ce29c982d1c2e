"""Receives webhooks and checks their signature by its own means (Standard Webhooks 1.0.0). Prints one JSON line a request.

Arguments: port, secret. The first request is refused with 503, so that the sender has to try again.
"""

import base64
import hashlib
import hmac
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

PORT, SECRET = int(sys.argv[1]), sys.argv[2]
KEY = base64.b64decode(SECRET.removeprefix("whsec_"), validate=True)
seen = 0


class Receiver(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def do_POST(self):
        global seen
        body = self.rfile.read(int(self.headers["content-length"]))
        name, moment = self.headers["webhook-id"], self.headers["webhook-timestamp"]
        digest = hmac.new(KEY, f"{name}.{moment}.".encode() + body, hashlib.sha256).digest()
        given = [sign.split(",", 1) for sign in self.headers["webhook-signature"].split(" ")]
        right = any(version == "v1" and hmac.compare_digest(base64.b64decode(sign), digest) for version, sign in given)
        fresh = abs(time.time() - int(moment)) < 300
        seen += 1
        status = 503 if seen == 1 else 204 if right and fresh else 400
        line = {"id": name, "right": right, "fresh": fresh, "status": status, "body": json.loads(body)}
        print(json.dumps(line), flush=True)
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_):
        pass


HTTPServer(("127.0.0.1", PORT), Receiver).serve_forever()
