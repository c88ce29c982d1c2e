"""An independent judge of mail files: Python's email package with its strict policy, and the line rules of RFC 5322 and 2047.

usage: judge.py FILE...        prints a JSON array, one object a file, in order
"""

import email
import email.policy
import json
import re
import sys


def mailboxes(message, name):
    found = []
    for header in message.get_all(name, []):
        found += [{"name": a.display_name, "address": a.addr_spec} for a in header.addresses]
    return found


def complaints(raw):
    """What the bytes themselves do wrong, whatever a tolerant parser makes of them."""
    found = []
    if re.search(rb"\r(?!\n)", raw):
        found.append("a CR stands alone")
    if re.search(rb"(?<!\r)\n", raw):
        found.append("an LF stands alone")
    if b"\0" in raw:
        found.append("there is a NUL")
    if not raw.endswith(b"\r\n"):
        found.append("the last line has no CRLF")
    for number, line in enumerate(raw.split(b"\n"), 1):
        if len(line.rstrip(b"\r")) > 998:
            found.append(f"line {number} is longer than 998 octets")
    head, separator, _ = raw.partition(b"\r\n\r\n")
    if not separator:
        found.append("no empty line ends the headers")
    if any(byte > 126 or byte < 32 and byte not in (9, 10, 13) for byte in head):
        found.append("the headers are not plain ASCII")
    for word in re.findall(rb"=\?[^?\s]+\?[BbQq]\?[^?\s]*\?=", head):
        if len(word) > 75:
            found.append(f"an encoded word of {len(word)} characters: {word[:40].decode('ascii', 'replace')}...")
    for line in head.split(b"\r\n"):
        if b"=?" in line and len(line) > 76:
            found.append(f"a line with an encoded word is longer than 76 characters: {line[:40].decode('ascii', 'replace')}...")
        if line and not line.strip():
            found.append("a folded header line holds nothing but spaces")
        if line and line[:1] not in (b" ", b"\t") and not re.match(rb"[!-9;-~]+:", line):
            found.append(f"no header field: {line[:40].decode('ascii', 'replace')}")
    for once in (b"date", b"from", b"sender", b"reply-to", b"to", b"cc", b"message-id", b"in-reply-to", b"subject", b"mime-version", b"content-type"):
        if len(re.findall(rb"(?im)^" + once + rb"[ \t]*:", head)) > 1:
            found.append(f"more than one {once.decode()} header")
    for needed in (b"date", b"from"):
        if not re.search(rb"(?im)^" + needed + rb":", head):
            found.append(f"no {needed.decode()} header")
    return found


def defects(message, raw):
    found = []
    try:
        strict = email.message_from_bytes(raw, policy=email.policy.SMTP + email.policy.strict)
        for part in strict.walk():
            for _ in part.items():
                pass
            if not part.is_multipart():
                part.get_content()
    except Exception as error:  # every error of a strict parser is a finding
        found.append(f"strict: {type(error).__name__}: {error}")
    for part in message.walk():
        found += [f"{type(d).__name__}: {d}" for d in part.defects]
        for name, value in part.items():
            found += [f"{name}: {type(d).__name__}: {d}" for d in getattr(value, "defects", ())]
    return sorted(set(found))


def body(message, kind):
    part = message.get_body(preferencelist=(kind,))
    return None if part is None or part.get_content_subtype() != kind else part.get_content()


def attempt(task, *arguments):
    try:
        return task(*arguments), None
    except Exception as error:
        return None, f"{task.__name__}: {type(error).__name__}: {error}"


def judge(path):
    with open(path, "rb") as file:
        raw = file.read()
    message = email.message_from_bytes(raw, policy=email.policy.SMTP)
    text, text_error = attempt(body, message, "plain")
    html, html_error = attempt(body, message, "html")
    date = message["date"]
    moment = getattr(date, "datetime", None)
    return {
        "file": path,
        "headers": [[name, str(value)] for name, value in message.items()],
        "from": mailboxes(message, "from"),
        "to": mailboxes(message, "to"),
        "cc": mailboxes(message, "cc"),
        "reply_to": mailboxes(message, "reply-to"),
        "subject": None if message["subject"] is None else str(message["subject"]),
        "message_id": None if message["message-id"] is None else str(message["message-id"]),
        "date": moment.isoformat() if moment else None,
        "parts": [
            {
                "content_type": part.get_content_type(),
                "charset": part.get_content_charset(),
                "encoding": part.get("content-transfer-encoding"),
                "disposition": part.get_content_disposition(),
                "filename": part.get_filename(),
                "content_id": part.get("content-id"),
            }
            for part in message.walk()
        ],
        "text": text,
        "html": html,
        "defects": defects(message, raw) + [error for error in (text_error, html_error) if error],
        "complaints": complaints(raw),
    }


def main():
    json.dump([judge(path) for path in sys.argv[1:]], sys.stdout)


if __name__ == "__main__":
    main()
