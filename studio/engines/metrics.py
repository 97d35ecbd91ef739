"""How a running server does, from the numbers it counts itself (vLLM's ``/metrics`` in Prometheus' text form, 0.32)."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

import msgspec

from studio.engines import servers
from studio.engines.servers import Server


class Reading(msgspec.Struct, frozen=True):
    """The counters of one moment."""

    at: float
    """Monotonic seconds."""
    generated: float = 0
    """Tokens written since the server started."""
    prompted: float = 0
    """Tokens read."""
    running: int = 0
    waiting: int = 0
    cache: float = 0
    """Share of the memory for conversations that is in use."""
    first: tuple[tuple[float, float], ...] = ()
    """Times to the first token: ``(up to seconds, how many)``, cumulative."""

    def percentile(self, share: float) -> float | None:
        """Seconds to the first token that ``share`` of the replies stayed under, interpolated within its bucket; None before the first reply.

        What lies beyond the last bound is told as that bound.
        """
        total = self.first[-1][1] if self.first else 0
        if not total:
            return None
        wanted, below, start = share * total, 0.0, 0.0
        for bound, count in self.first:
            if count >= wanted:
                return start if bound == float("inf") else start + (bound - start) * (wanted - below) / max(count - below, 1e-9)
            below, start = count, bound
        return start


_LINE = re.compile(r"^vllm:([a-z_]+?)(?:\{(.*)\})? ([-+.\deEInfNa]+)$")
_BOUND = re.compile(r'le="([^"]+)"')


def parse(text: str, at: float) -> Reading:
    """A reading out of the text of ``/metrics``; several engines are summed."""
    sums: dict[str, float] = {}
    buckets: dict[float, float] = {}
    caches = []
    for line in text.split("\n"):
        if not (found := _LINE.match(line)):
            continue
        name, labels, value = found[1], found[2] or "", float(found[3])
        if name == "time_to_first_token_seconds_bucket" and (bound := _BOUND.search(labels)):
            seconds = float(bound[1].replace("+Inf", "inf"))
            buckets[seconds] = buckets.get(seconds, 0) + value
        elif name == "kv_cache_usage_perc":
            caches.append(value)
        else:
            sums[name] = sums.get(name, 0) + value
    return Reading(
        at=at,
        generated=sums.get("generation_tokens_total", 0),
        prompted=sums.get("prompt_tokens_total", 0),
        running=int(sums.get("num_requests_running", 0)),
        waiting=int(sums.get("num_requests_waiting", 0)),
        cache=max(caches, default=0.0),
        first=tuple(sorted(buckets.items())),
    )


def read(server: Server) -> Reading | None:
    """The server's numbers now; None from one that counts none (the embedded engine, an outside endpoint) or does not answer."""
    if server.engine != "vllm":
        return None
    try:
        status, body = servers.ask(server, "/metrics")
    except OSError:
        return None
    return parse(body.decode("utf-8", "replace"), time.monotonic()) if status == 200 else None


def rate(readings: Sequence[Reading]) -> float | None:
    """Tokens a second written between the first and the last reading; None from fewer than two."""
    if len(readings) < 2 or readings[-1].at <= readings[0].at:
        return None
    return max(0.0, readings[-1].generated - readings[0].generated) / (readings[-1].at - readings[0].at)


def said(readings: Sequence[Reading]) -> str:
    """One line: tokens a second, replies under way and waiting, memory in use, time to the first token."""
    if not readings:
        return ""
    now = readings[-1]
    speed = rate(readings)
    parts = [f"{speed:.1f} tokens/s" if speed is not None else "", f"{now.running} under way", f"{now.waiting} waiting", f"cache {now.cache:.0%}"]
    half, most = now.percentile(0.5), now.percentile(0.95)
    if half is not None and most is not None:
        parts.append(f"first token p50 {half:.2f} s, p95 {most:.2f} s")
    return ", ".join(part for part in parts if part)


def as_json(readings: Sequence[Reading]) -> dict[str, float | int | None]:
    now = readings[-1]
    return {
        "tokens_per_s": rate(readings),
        "generated_tokens": now.generated,
        "prompt_tokens": now.prompted,
        "running": now.running,
        "waiting": now.waiting,
        "cache": now.cache,
        "first_token_p50_s": now.percentile(0.5),
        "first_token_p95_s": now.percentile(0.95),
    }
