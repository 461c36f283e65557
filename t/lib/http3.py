"""A small HTTP/3 client for the suite, spoken to in lines of JSON.

    python http3.py PORT             one connection to 127.0.0.1:PORT
    python http3.py --certificate FILE  makes a certificate and its key for a test

A line of input is a list of requests that are opened at the same time, each
{"method", "path", "headers": [[name, value], ...], "body"}. The line of output
is the list of their answers: {"status", "headers", "body"}, or {"error"} with
what had come until then.
"""

import asyncio
import json
import ssl
import sys

from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamReset

PATIENCE = 10


class Client(QuicConnectionProtocol):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.http = H3Connection(self._quic)
        self.answers = {}
        self.ended = {}

    def open(self, request):
        stream = self._quic.get_next_available_stream_id()
        self.answers[stream] = {"headers": [], "body": ""}
        self.ended[stream] = asyncio.get_running_loop().create_future()
        fields = [
            (":method", request["method"]),
            (":scheme", "https"),
            (":authority", "localhost"),
            (":path", request["path"]),
        ] + [(name.lower(), value) for name, value in request["headers"]]
        body = request.get("body")
        encoded = [(name.encode(), value.encode()) for name, value in fields]
        self.http.send_headers(stream, encoded, end_stream=body is None)
        if body is not None:
            self.http.send_data(stream, body.encode("latin-1"), end_stream=True)
        return stream

    async def exchange(self, requests):
        streams = [self.open(request) for request in requests]
        self.transmit()
        await asyncio.wait([self.ended[stream] for stream in streams], timeout=PATIENCE)
        answers = []
        for stream in streams:
            ended = self.ended[stream]
            error = ended.result() if ended.done() else f"no end within {PATIENCE} s"
            answer = self.answers[stream]
            answers.append({**answer, "error": error} if error else answer)
        return answers

    def end(self, stream, error=None):
        if stream in self.ended and not self.ended[stream].done():
            self.ended[stream].set_result(error)

    def quic_event_received(self, event):
        if isinstance(event, StreamReset):
            self.end(event.stream_id, "reset")
        if isinstance(event, ConnectionTerminated):
            for stream in self.ended:
                self.end(stream, "the connection closed")
        for http in self.http.handle_event(event):
            answer = self.answers.get(http.stream_id)
            if answer is None:
                continue
            if isinstance(http, HeadersReceived):
                for name, value in http.headers:
                    if name == b":status":
                        answer["status"] = int(value)
                    else:
                        answer["headers"].append([name.decode(), value.decode("latin-1")])
            elif isinstance(http, DataReceived):
                answer["body"] += http.data.decode("latin-1")
            if http.stream_ended:
                self.end(http.stream_id)


async def speak(port):
    configuration = QuicConfiguration(
        is_client=True, alpn_protocols=["h3"], verify_mode=ssl.CERT_NONE, server_name="localhost"
    )
    loop = asyncio.get_running_loop()
    async with connect(
        "127.0.0.1", port, configuration=configuration, create_protocol=Client
    ) as client:
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            print(json.dumps(await client.exchange(json.loads(line))), flush=True)


def certificate(path):
    """Writes a self-signed certificate and, in front of it, its key."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    with open(path, "wb") as out:
        out.write(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        out.write(made.public_bytes(serialization.Encoding.PEM))


if sys.argv[1] == "--certificate":
    certificate(sys.argv[2])
else:
    asyncio.run(speak(int(sys.argv[1])))
