"""From a folder or an archive to the files of a bundle and their digests."""
