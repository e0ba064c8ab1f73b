"""Fuzz a reader of files: ``python tests/reliability/fuzz.py READER [-runs=1000000]``.

The script needs atheris (``pip install atheris``). Options after the reader are those of libFuzzer.
Fuzzing ends at any error but ValueError, at more than 1 GiB of memory, and at a file that takes
more than 10 seconds.
"""

import os
import sys
import tempfile
from pathlib import Path

LIMITS = ["-rss_limit_mb=1024", "-timeout=10", "-max_len=4096"]


def main(name: str, *options: str) -> None:
    """Fuzz until libFuzzer ends the process."""
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
