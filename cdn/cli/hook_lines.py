"""What `cdn hook` shows to a person."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from cdn.cli.result import Document
from cdn.cli.text import in_time, safe

WHERE = {
    "github": "Settings > Webhooks > Add webhook: this URL, content type application/json, this secret",
    "gitlab": "Settings > Webhooks: this URL, and the secret as the signing token (or the secret token, which is sent)",
    "bitbucket": "Repository settings > Webhooks > Add webhook: this URL and this secret",
    "stripe": "Developers > Webhooks: this URL; then bring the secret it shows with cdn hook rotate --secret-file",
    "standard": "give its sender this URL and this secret",
    "token": "send it as Authorization: Bearer SECRET",
}
"""Where a vendor asks for what was made."""


def made_lines(answer: Document, locate: Callable[[str], str]) -> tuple[str, ...]:
    """A hook that was just made, or has another secret: the only time that this is shown."""
    hook = answer["hook"]
    secret = f"secret  {safe(answer['secret'])}"
    once = "the secret is shown this once"
    inbound = hook.get("inbound")
    if inbound is None:
        return (
            f"hook    {safe(hook['id'])}",
            f"to      {safe(hook['outbound']['url'])}",
            secret,
            f"{once}; messages are signed with it as Standard Webhooks (webhook-signature)",
        )
    where = WHERE.get(inbound["scheme"], WHERE["standard"])
    if inbound["scheme"] == "token" and inbound.get("field"):
        where = f"send it in the field {safe(inbound['field'])}"
    return (f"hook    {safe(hook['id'])}", f"url     {safe(locate(hook['path']))}", secret, f"{once}; {where}")


def hook_rows(hooks: Sequence[Document]) -> list[tuple[str, ...]]:
    """One row each."""
    rows: list[tuple[str, ...]] = []
    for hook in hooks:
        settings = hook.get("inbound") or hook.get("outbound") or {}
        events = ", ".join((*settings.get("events", ()), *(f"branch {one}" for one in settings.get("branches", ()))))
        if hook.get("inbound"):
            kind, does = f"from {settings['scheme']}", _does(settings["action"])
        else:
            kind, does = "to", settings["url"]
        rows.append((hook["id"], kind, events or "all", does, settings.get("note", "")))
    return rows


def _does(action: dict[str, Any]) -> str:
    match action["do"]:
        case "purge":
            named = [*action.get("urls", ()), *action.get("prefixes", ()), *action.get("tags", ())]
            what = "everything" if action.get("everything") else ", ".join(named)
            return f"purge {what}"
        case "activate":
            which = [f"{name} {action[name]}" for name in ("deploy", "commit", "alias") if action.get(name)]
            return f"activate {', '.join(which)} on {action.get('on', 'production')}"
        case other:
            return str(other)


def delivery_rows(answer: Document) -> list[tuple[str, ...]]:
    """One row each."""
    return [
        (
            each["id"],
            in_time(each["at"]),
            each["event"] or "-",
            each["state"],
            str(each["attempt_count"]),
            _became(each),
        )
        for each in answer["deliveries"]
    ]


def _became(delivery: Document) -> str:
    if delivery["state"] == "due":
        why = f" ({delivery['says']})" if delivery["says"] else ""
        at = delivery["next_at"]
        return f"tried again at {in_time(at)}{why}" if at else f"on its way{why}"
    return str(delivery["says"] or (f"record {delivery['sequence']}" if delivery["sequence"] else "taken"))


def refused_rows(answer: Document) -> list[tuple[str, ...]]:
    """One row each."""
    return [(in_time(each["at"]), each["peer"], f"{each['reason']}: {each['says']}") for each in answer["refused"]]


def delivery_lines(delivery: Document) -> tuple[str, ...]:
    """One message, whole."""
    lines = [
        f"{safe(delivery['id'])}  {safe(delivery['event'] or '-')}  {safe(delivery['state'])}  {_said(delivery)}",
        f"named {safe(delivery['named'] or '-')}, happened {in_time(delivery['at'])}",
    ]
    for attempt in delivery["attempts"]:
        status = "no answer" if attempt["status"] is None else str(attempt["status"])
        lines.append(f"  {in_time(attempt['at'])}  {status}  {safe(attempt['says'])}")
    if delivery.get("content") is not None:
        lines += [safe(line) for line in json.dumps(delivery["content"], indent=2, ensure_ascii=False).splitlines()]
    return tuple(lines)


def _said(delivery: Document) -> str:
    return safe(_became(delivery))
