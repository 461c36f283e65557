#!/usr/bin/env python3
"""States what this module relies on to an Authgear server, one fact a line.

    tools/conformance.py FILE

docs/conformance.md says how FILE describes a server. Nothing of this module runs there; Python's standard
library is all that is needed (and openssl, for an Admin API key in PEM). No credential is printed.

Exit code: 0 if every fact that was tried holds, 1 if one does not or a part broke off, 2 for a mistake in FILE.
"""

import base64
import configparser
import contextlib
import hashlib
import hmac
import http.client
import http.server
import json
import re
import secrets
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from datetime import datetime, timedelta, timezone
from urllib.parse import parse_qs, quote, urlencode, urlsplit

SECTIONS = {
    "authgear": "endpoint internal resolver ca cookie_prefix",
    "admin": "address app_id key key_id login_id_key",
    "jwt": "client_id client_secret redirect_uri",
    "opaque": "client_id client_secret redirect_uri",
    "m2m": "client_id client_secret resource",
    "login": "client_id redirect_uri post_logout_redirect_uri cookie_domain",
    "user": "login_id password session app_session",
    "webhook": "listen secret",
}
REQUIRED = {
    "authgear": "endpoint", "admin": "app_id", "jwt": "client_id", "opaque": "client_id",
    "m2m": "client_id client_secret resource", "login": "client_id redirect_uri", "webhook": "listen secret",
}
CLAIM = "https://authgear.com/claims/user/"
NAME = "conformance-" + secrets.token_hex(5)


class NotTried(Exception):
    """The description gives no access to a part, or the server lacks an optional interface."""


class Failed(Exception):
    """A request that a part depends on was not answered as expected."""


# --- what is said

counts = {"holds": 0, "DOES NOT HOLD": 0, "not tried": 0}


def say(kind, text):
    counts[kind] += 1
    print(f"{kind}: {text}", flush=True)


def fact(text, holds, got=None):
    if holds:
        say("holds", text)
    else:
        say("DOES NOT HOLD", text if got is None else f"{text} (got {got})")


def same(text, got, expected):
    fact(text, got == expected, f"{got!r}, not {expected!r}")


def part(title, function, *arguments):
    """Runs a part; whatever stops it is said, and the next part goes on."""
    try:
        return function(*arguments)
    except NotTried as reason:
        say("not tried", f"{title}: {reason}")
    except (Failed, OSError, http.client.HTTPException) as error:
        fact(f"{title} can be tried", False, f"{type(error).__name__}: {error}")
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        line = traceback.extract_tb(error.__traceback__)[-1].lineno
        fact(f"{title} can be tried", False, f"an answer of another form: {type(error).__name__}, line {line}")
    return None


# --- HTTP and tokens

class Answer:
    def __init__(self, response):
        self.status, self.body = response.status, response.read()
        self.headers = [(name.lower(), value) for name, value in response.getheaders()]

    def all(self, name):
        return [value for known, value in self.headers if known == name]

    def get(self, name):
        return next(iter(self.all(name)), None)

    def json(self):
        return json.loads(self.body)


def base64url(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def to_base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwt_parts(token):
    header, payload, signature = token.split(".")
    return json.loads(base64url(header)), json.loads(base64url(payload)), base64url(signature)


def pkcs1(signed, length):
    """EMSA-PKCS1-v1_5 with SHA-256 (RFC 8017, 9.2)."""
    info = bytes.fromhex("3031300d060960864801650304020105000420") + hashlib.sha256(signed).digest()
    return b"\x00\x01" + b"\xff" * (length - len(info) - 3) + b"\x00" + info


def number(text):
    return int.from_bytes(base64url(text), "big")


def is_signed(token, key):
    modulus = number(key["n"])
    length = (modulus.bit_length() + 7) // 8
    signed, _, signature = token.rpartition(".")
    found = pow(int.from_bytes(base64url(signature), "big"), number(key["e"]), modulus)
    return found.to_bytes(length, "big") == pkcs1(signed.encode(), length)


def cookie_of(answer, name):
    """The value and the lower-case attributes of a cookie that an answer sets, or None."""
    for line in answer.all("set-cookie"):
        pair, *attributes = [piece.strip() for piece in line.split(";")]
        if pair.partition("=")[0] == name:
            return pair.partition("=")[2], [attribute.lower() for attribute in attributes]
    return None


class Server:
    """The server as the file describes it."""

    def __init__(self, conf):
        self.conf = conf
        own = conf["authgear"]
        self.endpoint = own["endpoint"].rstrip("/")
        self.host, self.scheme = urlsplit(self.endpoint).netloc, urlsplit(self.endpoint).scheme
        self.internal = own.get("internal", self.endpoint)
        self.resolver = own.get("resolver", self.endpoint)
        self.prefix = own.get("cookie_prefix", "")
        self.tls = ssl.create_default_context(cafile=own.get("ca"))
        self.can_create_sessions = True
        self.documents = {}

    def section(self, name):
        if name not in self.conf:
            raise NotTried(f"the file has no [{name}]")
        return self.conf[name]

    def ask(self, base, method, path, headers=(), body=None, host=None, scheme=None):
        """One request on a connection of its own; redirects are not followed."""
        url = urlsplit(base)
        if url.scheme == "https":
            connection = http.client.HTTPSConnection(url.hostname, url.port, timeout=30, context=self.tls)
        else:
            connection = http.client.HTTPConnection(url.hostname, url.port, timeout=30)
        lines = [("Host", host or self.host), *headers]
        if base != self.endpoint:
            lines.append(("X-Forwarded-Proto", scheme or self.scheme))
        if body is not None:
            lines.append(("Content-Length", str(len(body))))
        with contextlib.closing(connection):
            connection.putrequest(method, url.path.rstrip("/") + path, skip_host=True, skip_accept_encoding=True)
            for name, value in lines:
                connection.putheader(name, value.encode() if isinstance(value, str) else value)
            connection.endheaders(body)
            return Answer(connection.getresponse())

    def main(self, method, path, headers=(), body=None, **more):
        return self.ask(self.internal, method, path, headers, body, **more)

    def post_form(self, path, **fields):
        given = {name: value for name, value in fields.items() if value is not None}
        kind = ("Content-Type", "application/x-www-form-urlencoded")
        return self.main("POST", path, [kind], urlencode(given).encode())

    def tokens(self, **fields):
        answer = self.post_form("/oauth2/token", **fields)
        if answer.status != 200:
            raise Failed(f"/oauth2/token, {fields['grant_type']}: {answer.status} {error_word(answer)}")
        return answer.json()

    def resolve(self, *lines, method="GET", **more):
        """What the resolver says of these header lines."""
        return self.ask(self.resolver, method, "/_resolver/resolve", lines, **more)

    def cookies(self, **cookies):
        """A Cookie line of Authgear's cookies, by their names without the prefix."""
        return ("Cookie", "; ".join(f"{self.prefix}{name}={value}" for name, value in cookies.items()))


def bearer(token):
    return ("Authorization", f"Bearer {token}")


def said(answer):
    return answer.get("x-authgear-session-valid") if answer.status == 200 else f"status {answer.status}"


def user_of(answer):
    return answer.get("x-authgear-user-id")


def identity_headers(answer):
    return sorted(name for name, _ in answer.headers if name.startswith("x-authgear-"))


def error_word(answer):
    """The error's own short name, which holds no credential."""
    try:
        error = answer.json()["error"]
        return error if isinstance(error, str) else error.get("reason", "")
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""


# --- the Admin API

class Admin:
    """pkg/admin of Authgear's server: GraphQL, authenticated by a JWT that the project's admin key signs."""

    def __init__(self, server):
        self.server, self.conf = server, server.section("admin")
        self.users, self.roles = [], []

    def sign(self, signed):
        with open(self.conf["key"], encoding="utf-8") as file:
            text = file.read()
        if text.lstrip().startswith("-----BEGIN"):
            command = ["openssl", "dgst", "-sha256", "-sign", self.conf["key"]]
            return subprocess.run(command, input=signed, stdout=subprocess.PIPE, check=True).stdout
        key = json.loads(text)
        key = key.get("keys", [key])[0]
        modulus = number(key["n"])
        length = (modulus.bit_length() + 7) // 8
        padded = int.from_bytes(pkcs1(signed, length), "big")
        return pow(padded, number(key["d"]), modulus).to_bytes(length, "big")

    def authorization(self):
        if "key" not in self.conf:  # A server that runs with ADMIN_API_AUTH=none.
            return []
        now = int(time.time())
        header = {"alg": "RS256", "typ": "JWT", "kid": self.conf.get("key_id", "")}
        claims = {"aud": [self.conf["app_id"]], "iat": now, "exp": now + 300}
        signed = ".".join(to_base64url(json.dumps(each).encode()) for each in (header, claims))
        return [bearer(f"{signed}.{to_base64url(self.sign(signed.encode()))}")]

    def mutate(self, name, fields="", **values):
        """Runs one mutation; its payload, or Failed with the server's message."""
        kind = name[0].upper() + name[1:] + "Input"
        query = f"mutation($input: {kind}!) {{ {name}(input: $input) {{ {fields or 'user { id }'} }} }}"
        body = json.dumps({"query": query, "variables": {"input": values}}).encode()
        headers = [("Content-Type", "application/json"), *self.authorization()]
        address = self.conf.get("address", self.server.endpoint)
        answer = self.server.ask(address, "POST", "/_api/admin/graphql", headers, body)
        if answer.status != 200:
            raise Failed(f"Admin API, {name}: status {answer.status}")
        result = answer.json()
        if result.get("errors"):
            raise Failed(f"Admin API, {name}: {result['errors'][0].get('message', '')}")
        return result["data"][name]

    def user(self):
        """A new user, whose name begins with conformance-."""
        key, name = self.conf.get("login_id_key", "username"), f"{NAME}-{len(self.users)}"
        login_id = f"{name}@example.com" if key == "email" else name
        password = "Aa1!" + secrets.token_hex(12)
        definition = {"loginID": {"key": key, "value": login_id}}
        node = self.mutate("createUser", definition=definition, password=password)["user"]["id"]
        user = User(login_id, password, node, base64url(node).decode().partition(":")[2])
        self.users.append(user)
        return user

    def role(self):
        key = f"{NAME}-{len(self.roles)}".replace("-", "_")
        self.roles.append(self.mutate("createRole", "role { id }", key=key)["role"]["id"])
        return key

    def clean_up(self):
        """Deletes all that is left; what cannot be deleted is said."""
        for user in self.users:
            if not user.deleted:
                part(f"the deletion of user {user.login_id}", self.delete, user)
        for role in self.roles:
            part("the deletion of a role", lambda role=role: self.mutate("deleteRole", "ok", id=role))

    def delete(self, user):
        user.deleted = True
        self.mutate("deleteUser", "deletedUserID", userID=user.node)


class User:
    def __init__(self, login_id, password, node=None, user_id=None):
        self.login_id, self.password, self.node, self.id = login_id, password, node, user_id
        self.deleted = False


# --- logins and grants

class Browser:
    """A browser's cookies for the endpoint, and Authgear's pages driven by its Authentication Flow API."""

    def __init__(self, server):
        self.server, self.cookies, self.last = server, {}, None

    def go(self, method, target, body=None):
        url = urlsplit(target)
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        headers = [("Content-Type", "application/json")] if body is not None else []
        if self.cookies:
            headers.append(("Cookie", "; ".join(f"{name}={value}" for name, value in self.cookies.items())))
        answer = self.server.main(method, path, headers, None if body is None else json.dumps(body).encode())
        for line in answer.all("set-cookie"):
            name, _, value = line.partition(";")[0].strip().partition("=")
            self.cookies[name] = value
            if not value:
                del self.cookies[name]
            elif name == f"{self.server.prefix}session":
                self.last = cookie_of(answer, name)
        return answer

    def authorize(self, **fields):
        given = {name: value for name, value in fields.items() if value is not None}
        return self.go("GET", "/oauth2/authorize?" + urlencode(given))

    def flow(self, path, **body):
        result = self.go("POST", "/api/v1/authentication_flows" + path, body).json()
        if "error" in result:
            raise Failed(f"the authentication flow says {result['error'].get('reason')}")
        return result["result"]

    def login(self, user, **fields):
        """Logs in on the page that authorize leads to; the redirect to redirect_uri."""
        page = self.authorize(**fields)
        if page.status not in (302, 303) or "x_ref=" not in page.get("location"):
            raise Failed(f"no login page: status {page.status}")
        query = urlsplit(page.get("location")).query
        state = self.flow("", type="login", name="default", url_query=query)
        kind = "email" if "@" in user.login_id else "username"
        steps = {
            "identify": {"identification": kind, "login_id": user.login_id},
            "authenticate": {"authentication": "primary_password", "password": user.password},
        }
        while state["action"]["type"] != "finished":
            step = state["action"]["type"]
            if step not in steps:
                raise NotTried(f"the login of this project asks for more than a name and a password ({step})")
            state = self.flow("/states/input", state_token=state["state_token"], input=steps.pop(step))
        target = state["action"]["data"]["finish_redirect_uri"]
        for _ in range(5):
            answer = self.go("GET", target)
            target = answer.get("location")
            if target is None:
                break
            if target.partition("?")[0] == fields["redirect_uri"]:
                return answer
        raise Failed(f"the login did not lead to redirect_uri: status {answer.status}")


def grant(server, admin, client, user):
    """Tokens of a user for a client: by the Admin API where it may create sessions, else by a login."""
    if admin and user.node and server.can_create_sessions:
        try:
            fields = "accessToken refreshToken"
            made = admin.mutate("createSession", fields, userID=user.node, clientID=client["client_id"])
            return {"access_token": made["accessToken"], "refresh_token": made["refreshToken"], "amr": []}
        except Failed as error:
            if "CreateSession is disabled" not in str(error):
                raise
            server.can_create_sessions = False
    if "redirect_uri" not in client:
        raise NotTried("createSession of the Admin API cannot be used, and the client has no redirect_uri")
    verifier = secrets.token_hex(32)
    challenge = to_base64url(hashlib.sha256(verifier.encode()).digest())
    known = {"client_id": client["client_id"], "redirect_uri": client["redirect_uri"]}
    back = Browser(server).login(
        user, **known, response_type="code", code_challenge_method="S256", code_challenge=challenge,
        scope="openid offline_access https://authgear.com/scopes/full-access")
    code = parse_qs(urlsplit(back.get("location")).query)["code"][0]
    return server.tokens(grant_type="authorization_code", code=code, code_verifier=verifier, **known,
                         client_secret=client.get("client_secret")) | {"amr": None}


# --- the parts

def documents(server):
    answer = server.main("GET", "/.well-known/openid-configuration")
    same("discovery is answered 200", answer.status, 200)
    discovery = answer.json()
    same("discovery's issuer is the endpoint's origin", discovery.get("issuer"), server.endpoint)
    same("jwks_uri is the endpoint and /oauth2/jwks", discovery.get("jwks_uri"), f"{server.endpoint}/oauth2/jwks")
    answer = server.main("GET", "/oauth2/jwks")
    same("the key set is answered 200", answer.status, 200)
    server.documents["keys"] = keys = answer.json()["keys"]
    fact("the key set holds a key", bool(keys))
    for name, value in (("kty", "RSA"), ("alg", "RS256"), ("use", "sig")):
        found = sorted({str(key.get(name)) for key in keys})
        same(f"each key's {name} is {value}", found, [value])
    fact("each key has a kid of its own", len({key["kid"] for key in keys}) == len(keys))
    bits = sorted({number(key["n"]).bit_length() for key in keys})
    same("each key has 2048 bits", bits, [2048])


def internal_address(server):
    if server.internal == server.endpoint:
        raise NotTried("the file names no internal address")
    other = "http" if server.scheme == "https" else "https"
    for path in ("/.well-known/openid-configuration", "/oauth2/jwks"):
        answer = server.main("GET", path, scheme=other)
        same(f"{path} with another X-Forwarded-Proto is redirected (307)", answer.status, 307)
        same("to the public origin", answer.get("location"), server.endpoint + path)


def resolver_address(server):
    if server.resolver in (server.endpoint, server.internal):
        raise NotTried("the file names no address of the resolver's own port")
    if server.internal == server.endpoint:
        say("not tried", "the main port, which has no resolver: the file names no internal address")
    else:
        same("the main port has no resolver (404)", server.main("GET", "/_resolver/resolve").status, 404)
    for path in ("/_resolver/resolve", "/resolve"):
        answer = server.ask(server.resolver, "GET", path)
        same(f"the resolver's port answers {path}", answer.status, 200)
    other = "http" if server.scheme == "https" else "https"
    same("the resolver's port does not redirect by scheme", server.resolve(scheme=other).status, 200)


def jwt(server, client, user, tokens):
    """The JWT of a user with two roles."""
    token = tokens["access_token"]
    fact("a JWT begins with eyJ", token.startswith("eyJ"))
    header, claims, _ = jwt_parts(token)
    keys = server.documents["keys"]
    same("its alg is RS256", header.get("alg"), "RS256")
    same("its typ is at+jwt", header.get("typ"), "at+jwt")
    same("its kid is the first key's of the set", header.get("kid"), keys[0]["kid"])
    fact("its signature verifies with the key of its kid", signed_by(keys, token, header))
    same("iss is the endpoint's origin", claims.get("iss"), server.endpoint)
    aud = claims.get("aud")
    fact("aud is an array that holds the origin", isinstance(aud, list) and server.endpoint in aud, aud)
    same("client_id is the client", claims.get("client_id"), client["client_id"])
    uuid = r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"
    fact("sub is a UUID", re.fullmatch(uuid, str(claims.get("sub"))))
    if user.id:
        same("and the user's id", claims.get("sub"), user.id)
    fact("jti is 64 hex digits", re.fullmatch(r"[0-9a-f]{64}", str(claims.get("jti"))))
    fact("scope is separated by spaces", "openid" in str(claims.get("scope")).split(" "), claims.get("scope"))
    for name in ("exp", "iat", "auth_time"):
        fact(f"{name} is a whole number", type(claims.get(name)) is int)
    now = time.time()
    fact("iat is now, within 5 minutes", abs(claims["iat"] - now) < 300)
    fact("exp is in the future", claims["exp"] > now)
    amr = claims.get("amr")
    if tokens["amr"] == []:
        same("amr is absent where there is none", amr, None)
    else:
        fact("amr of a login with a password is an array that holds pwd", isinstance(amr, list) and "pwd" in amr, amr)
    for name, value in (("is_anonymous", False), ("is_verified", None), ("can_reauthenticate", None)):
        got = claims.get(CLAIM + name)
        fact(f"{CLAIM}{name} is a boolean", type(got) is bool and value in (None, got), got)
    roles = claims.get(CLAIM + "roles")
    fact(f"{CLAIM}roles is an array of role keys", isinstance(roles, list), roles)
    return claims


def signed_by(keys, token, header):
    return any(key["kid"] == header.get("kid") and is_signed(token, key) for key in keys)


def roles_of(server, claims, roles):
    if roles is None:
        raise NotTried("the file has no [admin] to give roles")
    same("the JWT holds the user's roles", sorted(claims.get(CLAIM + "roles")), sorted(roles))


def id_token(server, client, tokens):
    if "refresh_token" not in tokens:
        raise NotTried("the grant has no refresh token")
    more = server.tokens(grant_type="refresh_token", client_id=client["client_id"],
                         refresh_token=tokens["refresh_token"], client_secret=client.get("client_secret"))
    tokens["refresh_token"] = more.get("refresh_token", tokens["refresh_token"])
    if "id_token" not in more:
        raise NotTried("the server issued none")
    token = more["id_token"]
    header, _, _ = jwt_parts(token)
    same("an ID token's typ is JWT", header.get("typ"), "JWT")
    fact("an ID token is signed by a key of the same set", signed_by(server.documents["keys"], token, header))
    same("of an ID token the resolver says nothing", said(server.resolve(bearer(token))), None)


def machine(server):
    client = server.section("m2m")
    token = server.tokens(grant_type="client_credentials", client_id=client["client_id"],
                          client_secret=client["client_secret"], resource=client["resource"])["access_token"]
    header, claims, _ = jwt_parts(token)
    same("a client's token has the typ at+jwt", header.get("typ"), "at+jwt")
    same("and is RS256", header.get("alg"), "RS256")
    fact("and is signed by a key of the set", signed_by(server.documents["keys"], token, header))
    same("its iss is the endpoint's origin", claims.get("iss"), server.endpoint)
    same("its aud is the resource", claims.get("aud"), [client["resource"]])
    same("its sub is client_id_ and the client", claims.get("sub"), "client_id_" + client["client_id"])
    same("its client_id is the client", claims.get("client_id"), client["client_id"])
    fact("its scope is a text", isinstance(claims.get("scope"), str))
    same("it has none of the user claims", [name for name in claims if name.startswith(CLAIM)], [])
    same("of a client's token the resolver says nothing", said(server.resolve(bearer(token))), None)


def nothing_valid(server):
    for method in ("GET", "HEAD"):
        answer = server.resolve(method=method)
        same(f"{method} without a credential is answered 200", answer.status, 200)
        same("with no X-Authgear header", identity_headers(answer), [])
        same("and no body", answer.body, b"")
    same("of a bad bearer token nothing is said", said(server.resolve(bearer("zzz"))), None)
    for name in ("app_session", "app_access_token"):
        same(f"of a bad {name} cookie nothing is said", said(server.resolve(server.cookies(**{name: "zzz"}))), None)
    name = f"{server.prefix}session"
    for value, what in (("zzz", "a bad"), ("", "an empty")):
        answer = server.resolve(server.cookies(session=value))
        same(f"{what} session cookie is false", said(answer), "false")
        same("no other header follows", identity_headers(answer), ["x-authgear-session-valid"])
        cleared = cookie_of(answer, name)
        fact(f"{what} session cookie is cleared by Set-Cookie", cleared is not None and cleared[0] == "")
    if server.prefix:
        same("a session cookie without the prefix is none", said(server.resolve(("Cookie", "session=zzz"))), None)


def resolved_jwt(server, token, claims):
    """The resolver's answer about a JWT says what the JWT says."""
    answer = server.resolve(bearer(token))
    same("the resolver calls a JWT's session valid", said(answer), "true")
    same("X-Authgear-User-Id is sub", user_of(answer), claims["sub"])
    for name in ("anonymous", "verified", "can_reauthenticate"):
        claim = CLAIM + (name if name == "can_reauthenticate" else f"is_{name}")
        header = "x-authgear-user-" + name.replace("_", "-")
        same(f"{header} is the claim, in letters", answer.get(header), json.dumps(claims.get(claim)))
    roles, header = claims.get(CLAIM + "roles"), answer.get("x-authgear-user-roles")
    if roles:
        same("X-Authgear-User-Roles joins the roles by a comma", sorted((header or "").split(",")), sorted(roles))
    else:
        same("X-Authgear-User-Roles is absent without a role", header, None)
    when = answer.get("x-authgear-session-authenticated-at")
    same("X-Authgear-Session-Authenticated-At is auth_time", when, str(claims["auth_time"]))
    same("X-Authgear-Session-Amr is sent, and empty", answer.all("x-authgear-session-amr"), [""])
    same("the answer has no body", answer.body, b"")
    same("HEAD says the same", identity_headers(server.resolve(bearer(token), method="HEAD")), identity_headers(answer))
    for scheme in ("bearer", "BEARER"):
        same(f"the scheme may be {scheme}", said(server.resolve(("Authorization", f"{scheme} {token}"))), "true")
    same("two spaces make it another token", said(server.resolve(("Authorization", f"Bearer  {token}"))), None)
    signature = token.rpartition(".")[2]
    other = "A" if signature[20] != "A" else "B"
    changed = token[:-len(signature)] + signature[:20] + other + signature[21:]
    same("of a JWT with another signature nothing is said", said(server.resolve(bearer(changed))), None)
    cookie = server.resolve(server.cookies(app_access_token=token))
    same("a JWT in the cookie app_access_token counts", user_of(cookie), claims["sub"])
    if server.prefix:
        plain = server.resolve(("Cookie", f"app_access_token={token}"))
        same("but not without the cookie prefix", said(plain), None)


def opaque(server, token, user):
    fact("an opaque token does not begin with eyJ", not token.startswith("eyJ"))
    answer = server.resolve(bearer(token))
    same("the resolver calls an opaque token's session valid", said(answer), "true")
    if user.id:
        same("and names its user", user_of(answer), user.id)
    answer = server.resolve(server.cookies(app_access_token=token))
    same("an opaque token in the cookie app_access_token counts", said(answer), "true")


def order(server, by_bearer, others):
    """The order of credentials; each is (cookie, value, user), the strongest first."""
    token, user = by_bearer
    for name, value, _ in others:
        cookie = server.cookies(**{name: value})
        same(f"a bearer token wins over {name}", user_of(server.resolve(bearer(token), cookie)), user)
    for index, (name, value, owner) in enumerate(others):
        cookie = server.cookies(**{name: value})
        same(f"a bad bearer token falls through to {name}", user_of(server.resolve(bearer("zzz"), cookie)), owner)
        for weaker, weak, weak_owner in others[index + 1:]:
            both = server.cookies(**{weaker: weak, name: value})
            same(f"{name} wins over {weaker}", user_of(server.resolve(both)), owner)
            both = server.cookies(**{name: "zzz", weaker: weak})
            same(f"a bad {name} falls through to {weaker}", user_of(server.resolve(both)), weak_owner)


def session_cookie(server, value, cleared=None):
    """How the cookie `session` is read."""
    name = f"{server.prefix}session"
    cases = [
        ("a session cookie counts", f"{name}={value}", "true"),
        ("quotes around its value are taken off", f'{name}="{value}"', "true"),
        ("of two the first counts", f"{name}={value}; {name}=zzz", "true"),
        ("even if it is bad", f"{name}=zzz; {name}={value}", "false"),
        ("a blank before = does not make it another's", f"{name} = zzz", "false"),
        ("other cookies do not matter", f"a=b; {name}={value}; c=d", "true"),
    ]
    for text, cookie, verdict in cases:
        same(text, said(server.resolve(("Cookie", cookie))), verdict)


def login(server, user):
    """response_type=none, its cookie, and the end of a session. Returns a live value of the cookie."""
    client = server.section("login")
    if user is None or user.password is None:
        raise NotTried("the file has neither [admin] nor a [user] with a password")
    redirect_uri, browser = client["redirect_uri"], Browser(server)
    known = {"client_id": client["client_id"], "redirect_uri": redirect_uri, "response_type": "none"}
    state = secrets.token_hex(8) + "/?&=#%+ äöü漢字" + "x" * 2970

    def returned(answer, what, **expected):
        target = answer.get("location") or ""
        fact(f"{what} comes back to redirect_uri",
             answer.status in (302, 303) and target.partition("?")[0] == redirect_uri, answer.status)
        query = parse_qs(urlsplit(target).query, keep_blank_values=True)
        fact("with state letter for letter", query.get("state") == [state])
        for name, value in expected.items():
            same(f"{what}: {name}", query.get(name), value)

    answer = browser.authorize(**known, scope="openid", prompt="none", state=state)
    returned(answer, "prompt=none without a session", error=["login_required"])
    answer = browser.authorize(**known, scope="nonsense", state=state)
    returned(answer, "a bad scope", error=["invalid_scope"])
    for what, change in (("an unknown client", {"client_id": NAME}),
                         ("a redirect URI that is not registered", {"redirect_uri": redirect_uri + "x"})):
        answer = browser.authorize(**(known | change), scope="openid", state=state)
        same(f"{what} is a page of Authgear's (400)", answer.status, 400)

    answer = browser.login(user, **known, scope="openid", state=state)
    returned(answer, "a login", error=None)
    name = f"{server.prefix}session"
    fact("a login sets the session cookie", browser.last is not None)
    first, attributes = browser.last
    for attribute in ("httponly", "samesite=lax", *(["secure"] if server.scheme == "https" else [])):
        fact(f"the session cookie is {attribute}", attribute in attributes)
    if "cookie_domain" in client:
        domains = [text.removeprefix("domain=").lstrip(".") for text in attributes if text.startswith("domain=")]
        same("the session cookie's domain is http.cookie_domain", domains, [client["cookie_domain"].lstrip(".")])
    else:
        say("not tried", "the domain of the session cookie: [login] names no cookie_domain")
    same("the resolver knows the session", said(server.resolve(("Cookie", f"{name}={first}"))), "true")

    answer = browser.authorize(**known, scope="openid", prompt="none", state=state)
    returned(answer, "prompt=none with a session", error=None)
    answer = browser.authorize(**known, scope="openid", state=state)
    elsewhere = (answer.get("location") or "").partition("?")[0] != redirect_uri
    fact("a plain request with a session shows a page", elsewhere)
    answer = browser.login(user, **known, scope="openid", state=state, prompt="login")
    returned(answer, "prompt=login", error=None)
    second, _ = browser.last
    fact("prompt=login sets a new session cookie", second != first)
    same("the old one is dead", said(server.resolve(("Cookie", f"{name}={first}"))), "false")
    same("the new one is alive", said(server.resolve(("Cookie", f"{name}={second}"))), "true")

    if "post_logout_redirect_uri" not in client:
        say("not tried", "end_session: [login] names no post_logout_redirect_uri")
        return second
    target = client["post_logout_redirect_uri"]
    answer = browser.go("GET", "/oauth2/end_session?post_logout_redirect_uri=" + quote(target, safe=""))
    same("end_session redirects to its registered URI", answer.get("location"), target)
    fact("and clears the session cookie", (cookie_of(answer, name) or ("kept",))[0] == "")
    same("and ends the session", said(server.resolve(("Cookie", f"{name}={second}"))), "false")
    browser.login(user, **known, scope="openid", state=state)
    return browser.last[0]


def app_session(server, tokens):
    """The cookie that Authgear's SDKs make of a refresh token for a web view."""
    client = server.section("login")
    body = json.dumps({"refresh_token": tokens["refresh_token"]}).encode()
    answer = server.main("POST", "/oauth2/app_session_token", [("Content-Type", "application/json")], body)
    if answer.status != 200:
        raise NotTried(f"the server issued no app session token ({answer.status} {error_word(answer)})")
    token = answer.json()["result"]["app_session_token"]
    hint = "https://authgear.com/login_hint?" + urlencode({"type": "app_session_token", "app_session_token": token})
    answer = Browser(server).authorize(
        client_id=client["client_id"], redirect_uri=client["redirect_uri"], response_type="none", scope="openid",
        prompt="none", login_hint=hint)
    found = cookie_of(answer, f"{server.prefix}app_session")
    if found is None:
        raise NotTried(f"the server set no cookie app_session ({answer.status})")
    same("the cookie app_session counts", said(server.resolve(server.cookies(app_session=found[0]))), "true")
    return found[0]


# --- changes of users, and what is told of them

class Webhook:
    """A listener to which the project sends its events."""

    def __init__(self, conf):
        self.secret, self.events, self.changed = conf["secret"].encode(), [], threading.Condition()
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()
                with hook.changed:
                    hook.events.append((self.path, dict(self.headers.items()), body))
                    hook.changed.notify_all()

            def log_message(self, *_):
                pass

        host, _, port = conf["listen"].rpartition(":")
        self.server = http.server.ThreadingHTTPServer((host.strip("[]"), int(port)), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def find(self, kind, user, until):
        """The event of this type about this user, waited for until then."""
        def found():
            for _, headers, body in self.events:
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    event = json.loads(body)
                    if event["type"] == kind and event["payload"]["user"]["id"] == user.id:
                        return headers, body, event
            return None
        with self.changed:
            self.changed.wait_for(found, max(0, until - time.monotonic()))
            return found()


def no(server, text, token):
    answer = said(server.resolve(bearer(token)))
    fact(text, answer in (None, "false"), answer)


def ends(server, admin, client, what, event, change, undo=None, undone=None):
    """A change of a user that ends all sessions for good; the events to expect."""
    user = admin.user()
    token = grant(server, admin, client, user)["access_token"]
    same(f"before {what} a token is valid", said(server.resolve(bearer(token))), "true")
    admin.mutate(change[0], change[1], userID=user.node, **change[2])
    user.deleted = change[0] == "deleteUser"
    no(server, f"{what} ends the user's sessions", token)
    expected = [(event, user)] if event else []
    if undo:
        admin.mutate(undo[0], userID=user.node, **undo[1])
        expected.append((undone, user))
        no(server, f"and nothing brings them back after {undo[0]}", token)
        fresh = grant(server, admin, client, user)["access_token"]
        same("but a new login counts", said(server.resolve(bearer(fresh))), "true")
    return expected


CHANGES = [
    ("disabling", "user.disabled", ("setDisabledStatus", "", {"isDisabled": True}),
     ("setDisabledStatus", {"isDisabled": False}), "user.reenabled"),
    ("scheduling a deletion", "user.deletion_scheduled", ("scheduleAccountDeletion", "", {}),
     ("unscheduleAccountDeletion", {}), "user.deletion_unscheduled"),
    ("scheduling an anonymization", "user.anonymization_scheduled", ("scheduleAccountAnonymization", "", {}),
     ("unscheduleAccountAnonymization", {}), "user.anonymization_unscheduled"),
    ("anonymizing", "user.anonymized", ("anonymizeUser", "anonymizedUserID", {})),
    ("deleting", "user.deleted", ("deleteUser", "deletedUserID", {})),
    ("revokeAllSessions", None, ("revokeAllSessions", "", {})),
]


def rfc3339(when):
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def planned(server, admin, client):
    """A planned disabling leaves all as it is."""
    user = admin.user()
    token = grant(server, admin, client, user)["access_token"]
    begin = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(hours=1)
    admin.mutate("setDisabledStatus", userID=user.node, isDisabled=True, temporarilyDisabledFrom=rfc3339(begin),
                 temporarilyDisabledUntil=rfc3339(begin + timedelta(hours=1)))
    same("a planned disabling ends no session yet", said(server.resolve(bearer(token))), "true")
    say("not tried", "the beginning of a planned period (the server acts within five minutes of it)")
    return user, begin


def valid_until(server, admin, client, session):
    """The end of an account's validity: the session exists, but is false, and does not fall through."""
    user = admin.user()
    token = grant(server, admin, client, user)["access_token"]
    end = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(seconds=3)
    admin.mutate("setAccountValidUntil", userID=user.node, accountValidUntil=rfc3339(end))
    limit = time.monotonic() + 30
    while said(server.resolve(bearer(token))) == "true" and time.monotonic() < limit:
        time.sleep(0.5)
    same("from account_valid_until on the resolver says false", said(server.resolve(bearer(token))), "false")
    if session is None:
        raise NotTried("the fall-through of such a session: there is no session cookie")
    answer = server.resolve(bearer(token), server.cookies(session=session))
    same("and another user's session behind it does not count", said(answer), "false")


def quiet_ends(server, admin, client):
    """What ends sessions without an event, and what ends none."""
    user = admin.user()
    tokens = grant(server, admin, client, user)
    admin.mutate("resetPassword", userID=user.node, password="Bb2!" + secrets.token_hex(12))
    same("a password reset by the Admin API ends no session", said(server.resolve(bearer(tokens["access_token"]))),
         "true")
    if "refresh_token" not in tokens:
        raise NotTried("a revoked refresh token: the grant has none")
    server.post_form("/oauth2/revoke", token=tokens["refresh_token"], client_id=client["client_id"])
    no(server, "a revoked refresh token ends its session", tokens["access_token"])


def delivered(server, hook, expected, plan):
    """Each expected event came, signed and in Authgear's form."""
    until = time.monotonic() + 65
    app_id = server.conf["admin"]["app_id"]
    for kind, user in expected:
        found = hook.find(kind, user, until)
        fact(f"{kind} reaches the webhook", found is not None)
        if found is None:
            until = min(until, time.monotonic() + 2)
            continue
        headers, body, event = found
        signature = hmac.new(hook.secret, body, hashlib.sha256).hexdigest()
        lower = {name.lower(): value for name, value in headers.items()}
        same(f"{kind}: X-Authgear-Body-Signature is the HMAC in lower-case hex",
             lower.get("x-authgear-body-signature") == signature, True)
        fact(f"{kind}: seq is a whole number", type(event.get("seq")) is int)
        fact(f"{kind}: id is a text", isinstance(event.get("id"), str))
        context = event.get("context", {})
        same(f"{kind}: context.app_id is the project", context.get("app_id"), app_id)
        recent = type(context.get("timestamp")) is int and abs(context["timestamp"] - time.time()) < 600
        fact(f"{kind}: context.timestamp is in Unix seconds", recent)
        if kind == "user.disabled":
            ahead = plan is not None and plan[0] is user
            same(f"{kind}: payload.user.is_disabled", event["payload"]["user"].get("is_disabled"), not ahead)
            begin = event["payload"].get("temporarily_disabled_from")
            if ahead:
                fact("a planned disabling is told at once, with its beginning", begin is not None
                     and datetime.fromisoformat(begin.replace("Z", "+00:00")) == plan[1], begin)
    kinds = {json.loads(body).get("type") for _, _, body in hook.events if body.startswith(b"{")}
    silent = sorted(kinds & {"user.signed_out", "user.session.terminated"})
    same("user.signed_out and user.session.terminated reach no hook", silent, [])


# --- all of it

def open_webhook(server):
    return Webhook(server.section("webhook"))


def change_users(server, admin, session):
    client, expected, plan = server.section("jwt"), [], None
    hook = part("webhooks", open_webhook, server)
    for change in CHANGES:
        expected += part(change[0], ends, server, admin, client, *change) or []
    plan = part("a planned disabling", planned, server, admin, client)
    if plan:
        expected.append(("user.disabled", plan[0]))
    part("account_valid_until", valid_until, server, admin, client, session)
    part("quiet ends", quiet_ends, server, admin, client)
    if hook:
        part("webhooks", delivered, server, hook, expected, plan)
        hook.server.shutdown()


def run(server, admin):
    part("discovery and key set", documents, server)
    part("the internal address", internal_address, server)
    part("the resolver's own port", resolver_address, server)
    part("invalid credentials", nothing_valid, server)
    part("a machine's token", machine, server)
    say("not tried", "a rotation of keys (no interface of Authgear's rotates them)")

    given = server.conf["user"] if "user" in server.conf else {}
    user, other, roles = None, None, None
    if admin:
        user, other = part("users by the Admin API", lambda: (admin.user(), admin.user())) or (None, None)
    if user:
        roles = part("roles", lambda: [admin.role(), admin.role()])
        part("roles", lambda: admin.mutate("addUserToRoles", userID=user.node, roleKeys=roles))
    elif "login_id" in given:
        user = other = User(given["login_id"], given.get("password"))

    live = []
    tokens, claims, strange = None, None, None
    if user is None:
        say("not tried", "tokens of a user: the file has neither [admin] nor a [user]")
    else:
        client = part("a JWT", server.section, "jwt")
        tokens = client and part("a JWT", grant, server, admin, client, user)
        claims = tokens and part("a JWT", jwt, server, client, user, tokens)
        if claims:
            part("roles", roles_of, server, claims, roles)
            part("a JWT at the resolver", resolved_jwt, server, tokens["access_token"], claims)
            part("an ID token", id_token, server, client, tokens)
        client = part("an opaque token", server.section, "opaque")
        strange = client and part("an opaque token", grant, server, admin, client, other)
        if strange:
            part("an opaque token", opaque, server, strange["access_token"], other)

    session = part("a login with cookies", login, server, other) or given.get("session")
    app = (part("the cookie app_session", app_session, server, strange) if strange else None) or given.get("app_session")
    for name, value in (("app_session", app), ("app_access_token", strange and strange["access_token"]),
                        ("session", session)):
        if value:
            live.append((name, value, user_of(server.resolve(server.cookies(**{name: value})))))
        else:
            say("not tried", f"the cookie {name} beside other credentials: there is none")
    if claims:
        part("the order of credentials", order, server, (tokens["access_token"], claims["sub"]), live)
    if session:
        part("the cookie session", session_cookie, server, session)
    if admin:
        part("changes of users", change_users, server, admin, session)
    else:
        say("not tried", "changes of users, and webhooks: the file has no [admin]")


def read(path):
    """The description; SystemExit with code 2 and a sentence for a mistake."""
    conf = configparser.ConfigParser(interpolation=None)
    try:
        with open(path, encoding="utf-8") as file:
            conf.read_file(file)
    except (OSError, configparser.Error) as error:
        mistake(str(error))
    for section in conf.sections():
        if section not in SECTIONS:
            mistake(f"unknown section [{section}]; known are {', '.join(SECTIONS)}")
        for name in conf[section]:
            if name not in SECTIONS[section].split():
                mistake(f"unknown name {name} in [{section}]; known are {SECTIONS[section]}")
        for name in REQUIRED.get(section, "").split():
            if not conf[section].get(name):
                mistake(f"[{section}] needs {name}")
    if "authgear" not in conf:
        mistake("there is no section [authgear]")
    return conf


def mistake(text):
    print(f"conformance: {text}", file=sys.stderr)
    raise SystemExit(2)


def main():
    if len(sys.argv) != 2:
        mistake("usage: conformance.py FILE (make conformance AUTHGEAR=FILE); see docs/conformance.md")
    server = Server(read(sys.argv[1]))
    admin = None
    try:
        admin = part("users by the Admin API", Admin, server)
        run(server, admin)
    finally:
        if admin:
            admin.clean_up()
    print("{holds} facts hold, {DOES NOT HOLD} do not, {not tried} not tried".format(**counts))
    return 1 if counts["DOES NOT HOLD"] else 0


if __name__ == "__main__":
    sys.exit(main())
