"""Where NATS is and how this program shows who it is."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from cdn.errors import InvalidInput

CONNECT_TIMEOUT_S = 2.0
"""How long one server is given to take a connection."""

REQUEST_TIMEOUT_S = 2.0
"""How long one answer is waited for before the question is put again."""

PATIENCE_S = 15.0
"""How long an append or a question is tried in all: a cluster that lost its leader elects another in 4 to 9 s."""

PING_INTERVAL_S = 2.0
"""A connection that does not answer a ping within this time, sent this often, is replaced."""


@dataclass(frozen=True, slots=True)
class NatsSettings:
    """`servers` are URLs (nats:// or tls://), in any order. At most one way to log in, and all files PEM.

    `credentials_file` holds a user's JWT and seed (.creds); `nkey_seed_file` a seed alone; both need the package
    nkeys. `tls_ca_file` replaces the system's authorities; with `tls_certificate_file` and `tls_key_file` the client
    proves itself too. `tls_hostname` is the name in the servers' certificates, where it is not that of the URL.
    """

    servers: tuple[str, ...]
    credentials_file: Path | None = None
    nkey_seed_file: Path | None = None
    user: str | None = None
    password: str | None = None
    token: str | None = None
    tls_ca_file: Path | None = None
    tls_certificate_file: Path | None = None
    tls_key_file: Path | None = None
    tls_hostname: str | None = None
    connect_timeout_s: float = CONNECT_TIMEOUT_S
    request_timeout_s: float = REQUEST_TIMEOUT_S
    patience_s: float = PATIENCE_S
    ping_interval_s: float = PING_INTERVAL_S

    def __post_init__(self) -> None:
        """Raises InvalidInput for settings that contradict themselves."""
        if not self.servers:
            raise InvalidInput("no NATS server is named: give at least one URL such as nats://127.0.0.1:4222")
        for server in self.servers:
            if not server.startswith(("nats://", "tls://")):
                raise InvalidInput(
                    f"{server!r} is not the URL of a NATS server: write nats://HOST:PORT or tls://HOST:PORT"
                )
            if "@" in server:  # it would be shown in errors and logs
                raise InvalidInput(
                    "the URL of a NATS server carries a login: give user, password or token by themselves"
                )
        logins = (self.credentials_file, self.nkey_seed_file, self.user, self.token)
        if sum(login is not None for login in logins) > 1:
            raise InvalidInput("more than one way to log in to NATS is given: choose credentials, nkey, user or token")
        if (self.user is None) != (self.password is None):
            raise InvalidInput("a NATS user and its password belong together: give both or none")
        if (self.tls_certificate_file is None) != (self.tls_key_file is None):
            raise InvalidInput("a client certificate for NATS and its key belong together: give both or none")

    @property
    def uses_tls(self) -> bool:
        """Whether connections are encrypted, whatever the servers offer."""
        tls_files = (self.tls_ca_file, self.tls_certificate_file)
        return any(tls_files) or any(server.startswith("tls://") for server in self.servers)

    def check_files(self) -> None:
        """Raises InvalidInput for a file that is named and cannot be used."""
        self.tls_context()
        for file in (self.credentials_file, self.nkey_seed_file):
            try:
                if file is not None:
                    file.read_bytes()
            except OSError as exc:
                raise InvalidInput(f"a login for NATS cannot be read: {exc}") from exc

    def tls_context(self) -> ssl.SSLContext | None:
        """What `uses_tls` connects with; None without TLS. Raises InvalidInput for a file that cannot be used."""
        if not self.uses_tls:
            return None
        try:
            context = ssl.create_default_context(cafile=self.tls_ca_file)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self.tls_certificate_file is not None:
                context.load_cert_chain(self.tls_certificate_file, self.tls_key_file)
        except OSError as exc:  # ssl.SSLError is one
            raise InvalidInput(f"a TLS file for NATS cannot be used: {exc}") from exc
        return context
