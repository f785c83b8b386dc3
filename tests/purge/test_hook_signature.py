"""Signatures as vendors document them, and everything that is none."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdn.purge.hook import Direction, InboundHook, Scheme, hook_from
from cdn.purge.hook_signature import Genuine, Message, Refused, judge, standard_signature

NOW = 1_731_705_121.0
SECRET = "It's a Secret to Everybody"


def hook(scheme: Scheme, **more: object) -> InboundHook:
    made = hook_from(Direction.IN, {"scheme": scheme.value, "action": {"do": "purge", "everything": True}, **more})
    assert isinstance(made, InboundHook)
    return made


def judged(
    scheme: Scheme,
    fields: Mapping[str, str],
    content: bytes,
    *secrets: str,
    now: float = NOW,
    token: str | None = None,
    **more: object,
) -> Genuine | Refused:
    return judge(hook(scheme, **more), secrets or (SECRET,), Message(fields, content, token), now)


def test_githubs_documented_example() -> None:
    """docs.github.com, "Validating webhook deliveries"."""
    fields = {
        "x-hub-signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
        "x-github-delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
    }
    assert judged(Scheme.GITHUB, fields, b"Hello, World!") == Genuine("72d3162e-cc78-11e3-81ab-4c9367dc0958")
    assert isinstance(judged(Scheme.GITHUB, fields, b"Hello, World?"), Refused)


def test_bitbuckets_documented_example() -> None:
    """support.atlassian.com, "Manage webhooks", secure webhooks."""
    signature = "sha256=a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9"
    fields = {"x-hub-signature": signature, "x-request-uuid": "f8b2"}
    assert judged(Scheme.BITBUCKET, fields, b"Hello World!") == Genuine("f8b2")
    assert isinstance(judged(Scheme.GITHUB, fields, b"Hello World!"), Refused), "that is another vendor's field"


@pytest.mark.parametrize("scheme", [Scheme.STANDARD, Scheme.GITLAB])
def test_the_documented_example_of_standard_webhooks(scheme: Scheme) -> None:
    """docs.svix.com, "Verifying webhooks manually"; GitLab's signing tokens are made the same way."""
    fields = {
        "webhook-id": "msg_loFOjxBNrRLzqYUf",
        "webhook-timestamp": "1731705121",
        "webhook-signature": "v1a,ignored v1,AAAA v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
    }
    content, secret = b'{"event_type":"ping","data":{"success":true}}', "whsec_plJ3nmyCDGBKInavdOK15jsl"
    assert judged(scheme, fields, content, secret) == Genuine("msg_loFOjxBNrRLzqYUf", is_timed=True)
    assert isinstance(judged(scheme, fields, content + b" ", secret), Refused)
    late = judged(scheme, fields, content, secret, now=NOW + 301)
    assert isinstance(late, Refused)
    assert late.reason == "wrong-time"
    assert isinstance(judged(scheme, fields, content, secret, now=NOW - 301), Refused)


def test_the_reference_vector_of_standard_webhooks() -> None:
    made = standard_signature(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def stripe(secret: str, at: int, content: bytes) -> str:
    return hmac.digest(secret.encode(), b"%d.%b" % (at, content), "sha256").hex()


def test_stripes_scheme_as_it_is_documented() -> None:
    """docs.stripe.com/webhooks/signature: t=, v1= once for each secret, v0= of no meaning."""
    content, at = b'{"id":"evt_1"}', int(NOW)
    good, other = stripe("whsec_current_secret", at, content), stripe("whsec_another_secret", at, content)
    both = {"stripe-signature": f"t={at},v1={other},v1={good},v0={good}"}
    assert judged(Scheme.STRIPE, both, content, "whsec_current_secret") == Genuine(is_timed=True)
    downgraded = {"stripe-signature": f"t={at},v0={good}"}
    assert isinstance(judged(Scheme.STRIPE, downgraded, content, "whsec_current_secret"), Refused)
    for text in (f"v1={good}", f"t={at}", f"t={at},t={at},v1={good}", f"t=x,v1={good}", "", f"t=-1,v1={good}"):
        assert isinstance(judged(Scheme.STRIPE, {"stripe-signature": text}, content, "whsec_current_secret"), Refused)
    moved = {"stripe-signature": f"t={at + 1},v1={good}"}
    assert isinstance(judged(Scheme.STRIPE, moved, content, "whsec_current_secret"), Refused), "the time is signed"
    assert isinstance(judged(Scheme.STRIPE, both, content, "whsec_current_secret", now=NOW + 301), Refused)
    assert judged(Scheme.STRIPE, both, content, "whsec_current_secret", now=NOW + 301, tolerance_s=400)


def test_gitlabs_token_is_compared_as_it_is() -> None:
    fields = {"x-gitlab-token": SECRET, "idempotency-key": "f1b2", "x-gitlab-event-uuid": "other"}
    assert judged(Scheme.GITLAB, fields, b"{}") == Genuine("f1b2")
    assert isinstance(judged(Scheme.GITLAB, {"x-gitlab-token": SECRET + " "}, b"{}"), Refused)
    assert isinstance(judged(Scheme.GITLAB, {}, b"{}"), Refused)
    assert isinstance(judged(Scheme.GITLAB, {"x-gitlab-token": "\udcff"}, b"{}"), Refused)


def test_a_token_comes_where_the_hook_says_and_nowhere_else() -> None:
    bearer, own = {"authorization": f"Bearer {SECRET}"}, {"x-hook": SECRET}
    assert judged(Scheme.TOKEN, bearer, b"") == Genuine()
    assert judged(Scheme.TOKEN, {"authorization": f"bearer  {SECRET} "}, b"") == Genuine()
    assert isinstance(judged(Scheme.TOKEN, {"authorization": f"Basic {SECRET}"}, b""), Refused)
    assert isinstance(judged(Scheme.TOKEN, own, b""), Refused)
    assert judged(Scheme.TOKEN, own, b"", field="X-Hook") == Genuine()
    assert isinstance(judged(Scheme.TOKEN, bearer, b"", field="X-Hook"), Refused)
    assert judged(Scheme.TOKEN, bearer, b"", field="Authorization") == Genuine()
    assert isinstance(judged(Scheme.TOKEN, {}, b"", token=SECRET), Refused), (
        "never in the query unless the hook says so"
    )
    assert judged(Scheme.TOKEN, {}, b"", token=SECRET, in_query=True) == Genuine()
    assert isinstance(judged(Scheme.TOKEN, {}, b"", token="other", in_query=True), Refused)


def test_several_secrets_count_while_one_takes_anothers_place() -> None:
    content = b"x"
    signature = f"sha256={hmac.digest(b'the former one..', content, 'sha256').hex()}"
    assert judged(Scheme.GITHUB, {"x-hub-signature-256": signature}, content, SECRET, "the former one..") == Genuine()
    assert isinstance(judged(Scheme.GITHUB, {"x-hub-signature-256": signature}, content, SECRET), Refused)


def test_names_of_deliveries_are_printable_or_none() -> None:
    signature = f"sha256={hmac.digest(SECRET.encode(), b'', 'sha256').hex()}"
    for name in ("a b", "x" * 201, "\x7f", ""):
        assert judged(Scheme.GITHUB, {"x-hub-signature-256": signature, "x-github-delivery": name}, b"") == Genuine()


@pytest.mark.parametrize("text", ["sha1=ab", "sha256=", "sha256=" + "G" * 64, "sha256=" + "A" * 64, "a" * 64, "="])
def test_what_is_no_signature_is_said_to_be_none(text: str) -> None:
    refused = judged(Scheme.GITHUB, {"x-hub-signature-256": text}, b"{}")
    assert isinstance(refused, Refused)
    assert refused.reason == "malformed-signature"
    assert len(text) < 10 or text not in refused.says


FIELDS = (
    "x-hub-signature-256",
    "x-hub-signature",
    "x-gitlab-token",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "stripe-signature",
    "authorization",
)


@given(
    scheme=st.sampled_from(Scheme),
    fields=st.dictionaries(st.sampled_from(FIELDS), st.text(max_size=90)),
    content=st.binary(max_size=40),
)
def test_nothing_that_was_not_signed_is_genuine_and_nothing_is_raised(
    scheme: Scheme, fields: dict[str, str], content: bytes
) -> None:
    assert isinstance(judged(scheme, fields, content, "a secret that nobody guesses"), Refused)


@given(
    key=st.binary(min_size=24, max_size=64),
    name=st.from_regex(r"[a-zA-Z0-9_.-]{1,40}", fullmatch=True),
    content=st.binary(max_size=100),
    tampered=st.integers(0, 3),
)
def test_what_is_signed_is_genuine_and_no_part_of_it_may_change(
    key: bytes, name: str, content: bytes, tampered: int
) -> None:
    secret = f"whsec_{base64.b64encode(key).decode()}"
    fields = {
        "webhook-id": name,
        "webhook-timestamp": str(int(NOW)),
        "webhook-signature": standard_signature(secret, name, int(NOW), content),
    }
    assert judged(Scheme.STANDARD, fields, content, secret) == Genuine(name, is_timed=True)
    match tampered:
        case 0:
            content += b"."
        case 1:
            fields["webhook-id"] += "x"
        case 2:
            fields["webhook-timestamp"] = str(int(NOW) + 1)
        case _:
            secret += "////"
    assert isinstance(judged(Scheme.STANDARD, fields, content, secret), Refused)
