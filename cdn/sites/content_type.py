"""Content types by file name (RFC 9110 8.3). Our own table: the same answer on every machine and Python."""

from __future__ import annotations

DEFAULT_CONTENT_TYPE = "application/octet-stream"

_TEXT = {
    "html": "text/html",
    "htm": "text/html",
    "xhtml": "application/xhtml+xml",
    "css": "text/css",
    "js": "text/javascript",
    "mjs": "text/javascript",
    "cjs": "text/javascript",
    "txt": "text/plain",
    "text": "text/plain",
    "log": "text/plain",
    "md": "text/markdown",
    "markdown": "text/markdown",
    "csv": "text/csv",
    "tsv": "text/tab-separated-values",
    "vtt": "text/vtt",
    "ics": "text/calendar",
    "vcf": "text/vcard",
    "xml": "application/xml",
    "xsl": "application/xml",
    "xsd": "application/xml",
    "rss": "application/rss+xml",
    "atom": "application/atom+xml",
    "svg": "image/svg+xml",
}
"""Types that carry `charset=utf-8`."""

_OTHER = {
    "json": "application/json",
    "map": "application/json",
    "jsonld": "application/ld+json",
    "geojson": "application/geo+json",
    "topojson": "application/json",
    "ndjson": "application/x-ndjson",
    "webmanifest": "application/manifest+json",
    "wasm": "application/wasm",
    "pdf": "application/pdf",
    "rtf": "application/rtf",
    "epub": "application/epub+zip",
    "zip": "application/zip",
    "gz": "application/gzip",
    "tgz": "application/gzip",
    "tar": "application/x-tar",
    "bz2": "application/x-bzip2",
    "xz": "application/x-xz",
    "zst": "application/zstd",
    "7z": "application/x-7z-compressed",
    "jar": "application/java-archive",
    "apk": "application/vnd.android.package-archive",
    "doc": "application/msword",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xls": "application/vnd.ms-excel",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "ppt": "application/vnd.ms-powerpoint",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "odt": "application/vnd.oasis.opendocument.text",
    "ods": "application/vnd.oasis.opendocument.spreadsheet",
    "odp": "application/vnd.oasis.opendocument.presentation",
    "png": "image/png",
    "apng": "image/apng",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "avif": "image/avif",
    "jxl": "image/jxl",
    "heic": "image/heic",
    "heif": "image/heif",
    "ico": "image/x-icon",
    "bmp": "image/bmp",
    "tif": "image/tiff",
    "tiff": "image/tiff",
    "woff": "font/woff",
    "woff2": "font/woff2",
    "ttf": "font/ttf",
    "otf": "font/otf",
    "eot": "application/vnd.ms-fontobject",
    "mp3": "audio/mpeg",
    "m4a": "audio/mp4",
    "aac": "audio/aac",
    "oga": "audio/ogg",
    "ogg": "audio/ogg",
    "opus": "audio/ogg",
    "wav": "audio/wav",
    "flac": "audio/flac",
    "weba": "audio/webm",
    "mid": "audio/midi",
    "midi": "audio/midi",
    "mp4": "video/mp4",
    "m4v": "video/mp4",
    "m4s": "video/iso.segment",
    "mpd": "application/dash+xml",
    "m3u8": "application/vnd.apple.mpegurl",
    "webm": "video/webm",
    "ogv": "video/ogg",
    "mov": "video/quicktime",
    "avi": "video/x-msvideo",
    "mkv": "video/matroska",
    "ts": "video/mp2t",
    "mpeg": "video/mpeg",
    "glb": "model/gltf-binary",
    "gltf": "model/gltf+json",
    "usdz": "model/vnd.usdz+zip",
    "pgp": "application/pgp-encrypted",
    "asc": "application/pgp-signature",
    "sqlite": "application/vnd.sqlite3",
    "parquet": "application/vnd.apache.parquet",
    "pmtiles": "application/vnd.pmtiles",
    "torrent": "application/x-bittorrent",
}
"""JSON has no charset parameter (RFC 8259 11); the rest is not text."""

_BY_EXTENSION = {**_OTHER, **{extension: f"{name}; charset=utf-8" for extension, name in _TEXT.items()}}

_BY_NAME = {
    "/.well-known/apple-app-site-association": "application/json",
    "/apple-app-site-association": "application/json",
    "/.well-known/security.txt": "text/plain; charset=utf-8",
    "/CNAME": "text/plain; charset=utf-8",
}
"""Files whose meaning is fixed by their whole path."""


def content_type_of(path: str) -> str:
    """The value of Content-Type for a file path; unknown extensions are `application/octet-stream`."""
    fixed = _BY_NAME.get(path)
    if fixed is not None:
        return fixed
    stem, dot, extension = path.rpartition("/")[2].rpartition(".")
    return _BY_EXTENSION.get(extension.lower(), DEFAULT_CONTENT_TYPE) if stem and dot else DEFAULT_CONTENT_TYPE


def is_page(path: str) -> bool:
    """Whether the file is a page that people navigate to, so that browsers have to validate it each time."""
    return path.lower().endswith((".html", ".htm", ".xhtml"))
