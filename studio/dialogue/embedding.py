"""How alike texts are in meaning, by a model of the person's own on this machine: any folder of a sentence-embedding or language model.

The model runs in a process of its own. What it made of a text is kept in ``.studio/embeddings/<model>.vectors``, which may be deleted at any
time: records of 16 bytes (a digest of the text) and the vector in 16-bit numbers, in no order.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterable
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgspec

from studio.checkpoints.base import check_base_name, model_config, require_base
from studio.errors import StudioError
from studio.files import lock, sha256_bytes
from studio.jobs.processes import python
from studio.persona.folder import Persona
from studio.progress import Progress, quiet

if TYPE_CHECKING:
    from numpy import ndarray

_KEY = 16


class Meaning:
    """What one model makes of the texts of one persona."""

    def __init__(self, persona: Persona, model: str) -> None:
        """``model``: a folder, ``pocket``, or a hub id that is fetched. StudioError if there is no model to embed with."""
        self.folder = require_base(check_base_name(model))
        config = model_config(self.folder)
        size = config.get("hidden_size") or config.get("d_model") or config.get("dim") or config.get("n_embd")
        if not isinstance(size, int) or (self.folder / "adapter_config.json").is_file():
            raise StudioError(f"{self.folder} cannot be embedded with: its config.json names no hidden size, or it is an adapter; merge that first.")
        self.dims = size
        weights = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(self.folder.glob("*.safetensors"))]
        self.path = persona.private / "embeddings" / f"{sha256_bytes(msgspec.json.encode([str(self.folder), weights, size]))[:16]}.vectors"
        self.places: dict[bytes, int] = {}
        """Number of the record of each text that is known."""
        self.vectors: Any = None

    def learn(self, texts: Iterable[str], progress: Progress = quiet) -> None:
        """Have the model read the texts that are not known yet; without any, no process is started."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with lock(self.path.with_suffix(".lock")):
            self._open()
            waiting = {key: text for text in texts if (key := key_of(text)) not in self.places}
            if waiting:
                self._run(waiting, progress)
                self._open()

    def of(self, texts: Iterable[str]) -> ndarray[Any, Any]:
        """The numbers of the records of texts that were learned."""
        import numpy as np

        return np.fromiter((self.places[key_of(text)] for text in texts), np.int64)

    def likeness(self, text: str, records: ndarray[Any, Any]) -> ndarray[Any, Any]:
        """The cosine of a learned text with each of these."""
        import numpy as np

        asked = self.vectors[self.places[key_of(text)]].astype(np.float32)
        found = np.empty(len(records), np.float32)
        for start in range(0, len(records), 1 << 14):
            part = slice(start, start + (1 << 14))
            found[part] = self.vectors[records[part]].astype(np.float32) @ asked
        return found

    def _open(self) -> None:
        """Map the file; a record that was cut off (a killed process, a full disk) is cut away."""
        import numpy as np

        size = _KEY + 2 * self.dims
        whole = self.path.stat().st_size // size if self.path.exists() else 0
        if self.path.exists() and self.path.stat().st_size % size:
            os.truncate(self.path, whole * size)
        if whole:
            records = np.memmap(self.path, np.dtype([("key", f"V{_KEY}"), ("vector", np.float16, (self.dims,))]), "r", shape=(whole,))
            self.vectors = records["vector"]
            self.places = {key.tobytes(): number for number, key in enumerate(records["key"])}

    def _run(self, waiting: dict[bytes, str], progress: Progress) -> None:
        os.close(os.open(self.path, os.O_CREAT | os.O_WRONLY, 0o600))
        descriptor, name = tempfile.mkstemp(prefix=".texts-", dir=self.path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                for key, text in waiting.items():
                    file.write(msgspec.json.encode({"key": key.hex(), "text": text}) + b"\n")
            progress("texts read by the model", 0, len(waiting))
            last = self._watched(name, len(waiting), progress)
        finally:
            os.unlink(name)
        if "error" in last:
            raise StudioError(f"{self.folder} cannot be embedded with ({str(last['error']).removesuffix('.')}).")
        if (dims := last.get("dims")) is None:
            raise StudioError(f"{self.folder} cannot be embedded with: its process ended early (out of memory?); what it had read is kept.")
        if dims != self.dims:
            self.path.unlink(missing_ok=True)
            raise StudioError(f"{self.folder} cannot be embedded with: its vectors have {dims:,} numbers, and its config.json says {self.dims:,}.")

    def _watched(self, texts: str, whole: int, progress: Progress) -> dict[str, Any]:
        """The process's last word."""
        last: dict[str, Any] = {}
        process = subprocess.Popen(
            python("studio.stages.embedding", str(self.folder), texts, str(self.path)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        try:
            assert process.stdout
            for line in process.stdout:
                try:
                    last = msgspec.json.decode(line, type=dict[str, Any])
                except msgspec.DecodeError:
                    continue  # what a library prints
                progress("texts read by the model", last.get("done", whole), whole)
        finally:
            process.kill()
            process.communicate()
        return last


def key_of(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_KEY).digest()
