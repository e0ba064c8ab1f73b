"""Fuzz a reader, guided by coverage: ``python tests/reliability/fuzz.py READER [-runs=1000000]``.

It needs atheris (``pip install atheris``); what follows the reader goes to libFuzzer. Any error but
ValueError, more than 1 GiB of memory and more than 10 seconds for a file end it.
"""

import os
import sys
import tempfile
from pathlib import Path

LIMITS = ["-rss_limit_mb=1024", "-timeout=10", "-max_len=4096"]


def main(name: str, *options: str) -> None:
    """Fuzz; libFuzzer ends the process."""
    import atheris

    traced = ["purenet", "numpy.lib", "zipfile", "gzip", "json", "PIL"]
    with atheris.instrument_imports(include=traced):
        from tests.support.readers import READERS, cheap_limits

    reader = READERS[name]
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=memory) as folder, cheap_limits():
        path, corpus = Path(folder, f"input.{reader.ending}"), Path(folder, "corpus")
        corpus.mkdir()
        for number, content in enumerate(reader.files):
            if not reader.try_file(path, content):
                raise AssertionError(f"file {number} cannot be read")
            (corpus / str(number)).write_bytes(content)

        def try_one(content: bytes) -> None:
            reader.try_file(path, content)

        atheris.Setup([sys.argv[0], *LIMITS, *options, str(corpus)], try_one)
        atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
