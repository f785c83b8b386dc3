"""What was taken down stands in for nothing else, and is no form of another file."""

from __future__ import annotations

from pathlib import Path

import brotli

from cdn.journal.record import TakenDown, VariantsSet
from cdn.origin.layout import blob_key, variants_key
from cdn.sites.manifest import FileEntry, digest_of
from cdn.sites.variants import Variants
from tests.edge.rules_stage import SITE, rules_stage

BR = {"accept-encoding": "br"}


async def test_a_page_for_what_is_absent_leaves_it_absent(tmp_path: Path) -> None:
    async with rules_stage(tmp_path) as stage:
        await stage.deploy({"/index.html": "home", "/404.html": "evil"})
        assert (await stage.ask("/nope")).content == b"evil"
        await stage.tell(TakenDown(digest_of(b"evil"), SITE))
        absent = await stage.ask("/nope")
        assert (absent.status, b"evil" in absent.content) == (404, False), "nothing was there, and nothing is gone"
        assert (await stage.ask("/404.html")).status == 410


async def test_a_form_that_was_a_file_of_its_own(tmp_path: Path) -> None:
    text = "console.log('a');\n" * 900
    coded = brotli.compress(text.encode())
    form = FileEntry(digest_of(coded), len(coded))
    raw = Variants({digest_of(text.encode()): {"br": form}}).to_bytes()
    async with rules_stage(tmp_path) as stage:
        await stage.store.put(blob_key(SITE, form.digest), coded)
        await stage.store.put(variants_key(SITE, digest_of(raw)), raw)
        deploy = stage.node.view.catalog.deploy(SITE, await stage.deploy({"/app.js": text}))
        assert deploy is not None
        await stage.tell(VariantsSet(SITE, deploy.manifest_digest, digest_of(raw)))
        assert (await stage.ask("/app.js", BR)).content == coded
        assert (await stage.ask("/app.js", BR)).fields["cache-status"] == "cdn; hit"
        stage.node.eraser.look = lambda: None  # type: ignore[method-assign]  # it comes to this one later
        await stage.tell(TakenDown(form.digest, SITE))
        for _ in range(2):
            shown = await stage.ask("/app.js", BR)
            assert (shown.status, shown.content) == (200, text.encode())
            assert "content-encoding" not in shown.fields
