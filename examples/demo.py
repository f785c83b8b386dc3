"""The whole story on this machine: start, deploy, a domain with HTTPS, deploy again, purge. `make demo` runs it."""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from examples.pebble import RunningPebble, find_pebble, running_pebble

EXAMPLE = Path(__file__).resolve().parent / "harbour"
DOMAIN = "www.harbour.example"
ZONE = "cdn.localhost"
ZONE_TEXT = """\
$ORIGIN harbour.example.
$TTL 60
@   IN SOA ns hostmaster {serial} 3600 600 86400 60
@   IN NS  ns
ns  IN A   127.0.0.1
www IN ALIAS harbour.cdn.localhost.
"""
"""The zone of the domain, as its owner writes it."""


class DemoFailed(Exception):
    """A step did not do what it should."""


@dataclass(frozen=True, slots=True)
class Running:
    """A `cdn up` that answers."""

    process: subprocess.Popen[str]
    control_url: str
    http_url: str
    https_url: str
    root_file: Path
    """Of the authority that signs."""
    pebble: RunningPebble | None
    environ: dict[str, str]


def main() -> int:
    """0 when every step did what it says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="stay up at the end and print the URLs")
    keep = parser.parse_args().keep
    folder = Path(tempfile.mkdtemp(prefix="cdn-demo-"))
    try:
        with started(folder) as running:
            tell(running, folder)
            print("\ndone", flush=True)
            if keep:
                stay(running)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    except DemoFailed as failure:
        print(f"\ndemo failed: {failure}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def tell(running: Running, folder: Path) -> None:
    """The steps, in order."""
    bundle = folder / "harbour"
    shutil.copytree(EXAMPLE, bundle)
    step("a site")
    cdn(running, "site", "create", "harbour")

    count = sum(1 for path in bundle.rglob("*") if path.is_file())
    step(f"the first deploy: {count} files")
    cdn(running, "deploy", str(bundle), "--site", "harbour", "--message", "first")
    okay("the receipt of the first deploy is complete")  # the command ends with 0 for nothing less

    step("pages under the site's own host name")
    host = f"harbour.{ZONE}"
    for path in ("/", "/index.html", "/robots.txt"):
        visit(running, host, path, expected=200)
    visit(running, host, "/", expected=200, says="hit")
    okay("the second visit is a hit")
    visit(running, host, "/no-such-page", expected=404)

    tell_domain(running, folder)

    step("one file changes, and is deployed again")
    page = bundle / "index.html"
    page.write_text(page.read_text().replace("</body>", "<p>The harbour office opens at six.</p></body>"))
    said = cdn(running, "deploy", str(bundle), "--site", "harbour", "--message", "new opening hours")
    expect("uploaded 1 blob," in said, "one blob was uploaded")
    okay("the receipt of the second deploy is complete")
    content = visit(running, host, "/", expected=200)
    expect(b"opens at six" in content, "the new page is served once the receipt is complete")
    visit(running, host, "/robots.txt", expected=200, says="hit")
    okay("a file that did not change is still a hit")

    step("a purge, acknowledged by every node")
    cdn(running, "purge", "--site", "harbour", "--all")
    okay("the receipt of the purge is complete")
    visit(running, host, "/robots.txt", expected=200, says="fwd=miss")
    okay("nothing from before the purge is served")

    step("the nodes")
    cdn(running, "status")


def tell_domain(running: Running, folder: Path) -> None:
    """A domain of its own, from nothing to HTTPS."""
    step(f"a domain of its own: {DOMAIN}, whose DNS is in a zone that our name server answers")
    if running.pebble is None:
        print(
            "   Pebble is not installed (Debian package `pebble`): the development authority of `cdn up` signs instead"
        )
    zone = folder / "harbour.example.zone"
    zone.write_text(ZONE_TEXT.format(serial=1))
    cdn(running, "zone", "import", str(zone))
    said = cdn(running, "domain", "add", DOMAIN, "--site", "harbour", "--json", shows=False)
    cdn(running, "domain", "show", DOMAIN)
    record = next(each for each in json.loads(said)["records"] if each["type"] == "TXT")
    print(f"\n   its owner adds the records: {record['name']} TXT {record['value']}", flush=True)
    zone.write_text(ZONE_TEXT.format(serial=2) + f'{record["name"]}. IN TXT "{record["value"]}"\n')
    cdn(running, "zone", "import", str(zone))
    cdn(running, "domain", "check", DOMAIN, "--wait", "1m")
    okay("the domain is verified, and a certificate was got for it")
    visit_secure(running, DOMAIN, "/")
    okay("it is answered over HTTPS, with a certificate that its authority's root vouches for")
    location = visit(running, DOMAIN, "/harbour?from=http", expected=308, wants="Location")
    expect(location.startswith(f"https://{DOMAIN}:".encode()), "visitors of HTTP are sent to HTTPS")


def visit_secure(running: Running, host: str, path: str) -> None:
    """Fetch a page over HTTPS, and believe nobody but the authority."""
    trust = ssl.create_default_context(cafile=str(running.root_file))
    port = urlsplit(running.https_url).port or 443
    began = time.perf_counter()
    with (
        socket.create_connection(("127.0.0.1", port), 20) as plain,
        trust.wrap_socket(plain, server_hostname=host) as secret,
    ):
        secret.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        response = http.client.HTTPResponse(secret)
        response.begin()
        content = response.read()
        how, names = secret.version(), dict(secret.getpeercert() or {})["subjectAltName"]
    took_ms = (time.perf_counter() - began) * 1000
    print(f"   GET https://{host}:{port}{path}")
    print(
        f"       {response.status}, {len(content)} bytes, {took_ms:.1f} ms, {how}, certificate for {names}", flush=True
    )
    if response.status != 200:
        raise DemoFailed(f"https://{host}{path} answered {response.status}")


def step(title: str) -> None:
    print(f"\n== {title}", flush=True)


def okay(what: str) -> None:
    print(f"   ok: {what}", flush=True)


def expect(is_so: bool, what: str) -> None:
    if not is_so:
        raise DemoFailed(f"expected that {what}")
    okay(what)


def cdn(running: Running, *words: str, shows: bool = True) -> str:
    """Run one command, show what a person sees, and how long it took."""
    shown = [word for word in words if word != "--json"]
    print(f"$ cdn {shlex.join(shown)}", flush=True)
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "cdn", *words], env=running.environ, capture_output=True, text=True, check=False
    )
    took_ms = (time.perf_counter() - began) * 1000
    if done.returncode != 0:
        raise DemoFailed(
            f"cdn {words[0]} ended with status {done.returncode}: {done.stderr.strip()} {done.stdout.strip()}"
        )
    if shows:
        print("".join(f"   {line}\n" for line in done.stdout.splitlines()) + f"   ({took_ms:.0f} ms)", flush=True)
    return done.stdout


def visit(running: Running, host: str, path: str, *, expected: int, says: str = "", wants: str | None = None) -> bytes:
    """Fetch a page as a browser would; gives its content, or the field that is wanted."""
    address = urlsplit(running.http_url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port or 80, timeout=20)
    began = time.perf_counter()
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"Host": host})
        response = connection.getresponse()
        content = response.read()
    took_ms = (time.perf_counter() - began) * 1000
    status = response.headers.get("Cache-Status", "")
    print(f"   GET http://{host}:{address.port}{path}")
    print(f"       {response.status}, {len(content)} bytes, {took_ms:.1f} ms, Cache-Status: {status}", flush=True)
    if response.status != expected or says not in status:
        raise DemoFailed(f"{host}{path} answered {response.status} ({status}), expected {expected} {says}")
    return content if wants is None else response.headers.get(wants, "").encode()


@contextlib.contextmanager
def started(folder: Path) -> Iterator[Running]:
    """`cdn up` on free ports with data of its own; stopped at the end."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("CDN_")}
    environ |= {"XDG_CONFIG_HOME": str(folder / "config"), "XDG_CACHE_HOME": str(folder / "cache")}
    control, visitors, secure, dns = free_addresses(4)
    words = ["up", "--data", str(folder / "data"), "--control", control, "--http", visitors, "--https", secure]
    words += ["--dns", dns, "--zone", ZONE]
    # Domains are looked up at our own name server alone: nothing of this leaves the machine.
    words += ["--resolver", dns, "--name-server-port", dns.rpartition(":")[2]]
    stack = contextlib.ExitStack()
    pebble = None
    if find_pebble() is not None:
        ports = {"http_port": int(visitors.rpartition(":")[2]), "https_port": int(secure.rpartition(":")[2])}
        pebble = stack.enter_context(running_pebble(folder / "pebble", dns=dns, **ports))
        words += ["--acme", pebble.directory_url, "--acme-ca", str(pebble.ca_file)]
    print(f"$ cdn {shlex.join(words)}", flush=True)
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "cdn", *words, "--json"], env=environ, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()  # printed when every role answers
        if not line:
            raise DemoFailed(f"cdn up ended with status {process.wait()}")
        ready = json.loads(line)
        print(f"   ready after {(time.perf_counter() - began) * 1000:.0f} ms", flush=True)
        root_file = Path(ready["root_file"]) if pebble is None else pebble.root_file
        yield Running(process, ready["control_url"], ready["http_url"], ready["https_url"], root_file, pebble, environ)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        stack.close()


def free_addresses(count: int) -> list[str]:
    """Addresses nobody listens on. They are named to `cdn up`, so that the URLs it prints have the port."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]


def stay(running: Running) -> None:
    """Leave everything running until Ctrl-C."""
    port = urlsplit(running.http_url).port
    command = shlex.quote(str(Path(sys.executable).with_name("cdn")))
    config = shlex.quote(running.environ["XDG_CONFIG_HOME"])
    print("\nIt stays up until Ctrl-C.")
    print(f"  site      http://harbour.{ZONE}:{port}/")
    secure = urlsplit(running.https_url).port
    resolve = f"--resolve {DOMAIN}:{secure}:127.0.0.1"
    print(f"  domain    curl --cacert {running.root_file} {resolve} https://{DOMAIN}:{secure}/")
    print(f"  control   {running.control_url}")
    print(f"  commands  XDG_CONFIG_HOME={config} {command} status")
    print(f"            XDG_CONFIG_HOME={config} {command} explain http://harbour.{ZONE}:{port}/", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        running.process.wait()


if __name__ == "__main__":
    sys.exit(main())
