"""The uploader's side: scan, hash, upload what is missing, activate."""
