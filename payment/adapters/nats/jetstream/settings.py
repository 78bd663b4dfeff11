"""Verdicts on the settings of consumers and streams that other programs created: whether they keep this service's
promises.

Owns: a verdict for each setting. Must never: change anything at the server, or accept a setting unchecked where a
promise depends on it. Change together with: docs/decisions/0015-settings-of-consumers-and-streams.md, which has the
table, and `payment.adapters.nats.jetstream.api`, whose consumers and streams must pass these checks.

A verdict has two kinds of sentences. *Refused*: an event would be lost in silence, so the service does not read the
consumer (its events wait in the stream), or does not publish to the stream (our events wait in the database). *Weak*:
the service goes on with a weaker promise, and `/readyz` reports degraded. A setting in neither list breaks no promise.
Source of the settings: NATS documentation, "Consumer details", "Stream configuration", and the answers of nats-server
2.15. Durations are in nanoseconds; 0 and -1 mean no limit.
"""

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

NS_PER_S = 1_000_000_000
DAY_S = 86_400.0

ACK_WAIT_SHORTEST_S = 5.0
"""The contract's ack wait, in seconds: below it, events are redelivered while they are being handled."""
ACK_WAIT_LONGEST_S = 300.0
"""In seconds: the events of a killed process, cancels included, wait for the ack wait."""
ACK_PENDING_EVENTS_MIN = 100
"""Below this many, a few events that can't be written now hold up all others of their subject (F30)."""
PULL_EXPIRES_SHORTEST_S = 1.0
"""In seconds: shorter pulls would send requests without a pause."""
KEPT_SHORTEST_S = DAY_S
"""How long an outage may last, in seconds, before a stream drops unread events: an outage that begins at night is over
by then.
"""
KEPT_EVENTS_MIN = 10_000
"""Events that may come during an outage: a sale has thousands of orders."""
KEPT_BYTES_MIN = 10 * 1024 * 1024
"""Ten thousand events of a kilobyte."""
MESSAGE_BYTES_MIN = 4_096
"""More than the largest event of this service: four ids of 255 bytes, escaped, and JetStream's own headers."""
DUPLICATE_WINDOW_SHORTEST_S = 30.0
"""In seconds. An event whose acknowledgement was lost is published again within it, after the time limit and the first
pauses.
"""


class SettingsVerdict(Struct, frozen=True):
    """The problems of an object's settings, a sentence each. Both tuples are empty where there is none."""

    refused: tuple[str, ...] = ()
    weak: tuple[str, ...] = ()


class Findings(Struct):
    """The sentences of a verdict while they are collected."""

    refused: list[str]
    weak: list[str]

    def verdict(self, what: str) -> SettingsVerdict:
        return SettingsVerdict(
            tuple(f"{what}: {each}" for each in self.refused), tuple(f"{what}: {each}" for each in self.weak)
        )


def consumer_verdict(
    name: str, config: dict[str, Any], stream: dict[str, Any], subject: str, ack_wait_s: float
) -> SettingsVerdict:
    """The verdict on a consumer from which the service reads the events of `subject`.

    `stream` are the settings of its stream; `ack_wait_s` is the ack wait of a consumer that this service would create.
    """
    found = Findings([], [])
    _delivery(config, found)
    _filter(config, subject, stream, found)
    _acknowledging(config, ack_wait_s, found)
    _life(config, stream.get("retention", "limits"), found)
    return found.verdict(f"consumer {name}")


def _delivery(config: dict[str, Any], found: Findings) -> None:
    """Check how events are delivered, and whether all of them are."""
    if config.get("deliver_subject"):
        found.refused.append("it is a push consumer (deliver_subject); only a pull consumer can be read")
    if config.get("headers_only"):
        found.refused.append("headers_only: events would come without their contents. Set it to false")
    if config.get("priority_groups"):
        found.refused.append("priority_groups: only members of a group are served. Remove them")
    policy = config.get("deliver_policy", "all")
    if policy != "all":
        found.weak.append(f"deliver_policy is {policy}: events from before it was made are skipped. It should be all")
    if config.get("replay_policy", "instant") != "instant":
        found.weak.append("replay_policy is not instant: waiting events come as slowly as they were published")
    if 0 < (size := int(config.get("max_bytes") or 0)) < MESSAGE_BYTES_MIN:
        found.weak.append(
            f"max_bytes is {size}: a larger event can't be pulled, and holds up others. {MESSAGE_BYTES_MIN} or more"
        )
    max_expires_s = _seconds(config, "max_expires")
    if 0 < max_expires_s < PULL_EXPIRES_SHORTEST_S:
        found.refused.append(f"max_expires is {max_expires_s:g} s: pulls would end at once. Set it to 30 s, or to 0")


def _filter(config: dict[str, Any], subject: str, stream: dict[str, Any], found: Findings) -> None:
    filters = [each for each in (config.get("filter_subject"), *(config.get("filter_subjects") or ())) if each]
    if filters and not any(subject_matches(each, subject) for each in filters):
        found.refused.append(f"its filter is {', '.join(filters)}: no {subject} would come. Set it to {subject}")
    elif subject not in (filters or stream.get("subjects") or ()) or len(filters or stream["subjects"]) > 1:
        if stream.get("retention") != "workqueue":
            return  # an event that this service passes over stays there for others
        found.refused.append(
            f"its filter takes more than {subject}, from a work queue: events that this service passes over "
            "would be deleted for all consumers. "
            f"Set it to {subject}"
        )


def _acknowledging(config: dict[str, Any], ack_wait_s: float, found: Findings) -> None:
    """Check whether and when an event is redelivered until it is acknowledged."""
    if (policy := config.get("ack_policy", "none")) != "explicit":
        found.refused.append(f"ack_policy is {policy}: events would count as done before they are. Set it to explicit")
    if (tries := int(config.get("max_deliver") or -1)) > 0:
        found.refused.append(
            f"max_deliver is {tries}: after {tries} tries an event is given up, a cancel too. Set it to -1"
        )
    waits_s = [each / NS_PER_S for each in config.get("backoff") or ()] or [_seconds(config, "ack_wait")]
    setting = "backoff" if config.get("backoff") else "ack_wait"
    if 0 < min(waits_s) < min(ACK_WAIT_SHORTEST_S, ack_wait_s):
        found.weak.append(f"{setting} is {min(waits_s):g} s: events come again while they are handled. 5 s or more")
    if max(waits_s) > ACK_WAIT_LONGEST_S:
        found.weak.append(
            f"{setting} is {max(waits_s):g} s: what a killed process was handling waits for it. 5 min or less"
        )
    if 0 < (pending := int(config.get("max_ack_pending") or 0)) < ACK_PENDING_EVENTS_MIN:
        found.weak.append(
            f"max_ack_pending is {pending}: that few unacknowledged events hold up all others. "
            f"{ACK_PENDING_EVENTS_MIN} or more"
        )


def _life(config: dict[str, Any], retention: str, found: Findings) -> None:
    """Check whether the consumer still exists after a time in which the service was away."""
    idle_s = _seconds(config, "inactive_threshold")
    if idle_s > 0 and retention == "interest":
        found.refused.append(
            f"inactive_threshold is {idle_s:g} s: it is deleted when the service is away for longer, and its stream "
            "then drops new events. Set it to 0"
        )
    elif idle_s > 0:
        found.weak.append(
            f"inactive_threshold is {idle_s:g} s: it is deleted when the service is away for longer. Set it to 0"
        )
    if config.get("mem_storage") and retention == "interest":
        found.weak.append("mem_storage: a restarted server forgets it, and its stream then drops new events")


def read_stream_verdict(config: dict[str, Any], subject: str) -> SettingsVerdict:
    """The verdict on a stream from which the service reads the events of `subject`."""
    found = Findings([], [])
    if _renames(config, subject):
        found.refused.append(
            f"subject_transform: it stores {subject} under another name, which the service doesn't read"
        )
    if config.get("sealed"):
        found.weak.append("it is sealed: no new event can come")
    _keeping(config, found)
    return found.verdict(f"stream {config.get('name')}")


def published_stream_verdict(config: dict[str, Any], subject: str, consumers: int) -> SettingsVerdict:
    """The verdict on a stream to which the service publishes the events of `subject`; it has `consumers` consumers
    now.
    """
    found = Findings([], [])
    if config.get("no_ack"):
        found.refused.append("no_ack: it never confirms that it has stored an event. Set it to false")
    if config.get("sealed"):
        found.refused.append("it is sealed: it takes nothing more")
    if config.get("allow_msg_counter"):
        found.refused.append("allow_msg_counter: it takes nothing but counters. Events need a stream without it")
    if _renames(config, subject):
        found.refused.append(f"subject_transform: it stores {subject} under another name, which its readers don't read")
    if config.get("retention") == "interest" and consumers == 0:
        found.weak.append(
            "its retention is interest and it has no consumer: it drops the events that the service publishes"
        )
    window_s = _seconds(config, "duplicate_window")
    if 0 < window_s < DUPLICATE_WINDOW_SHORTEST_S:
        found.weak.append(
            f"duplicate_window is {window_s:g} s: an event that is published again after a lost acknowledgement "
            "arrives twice. 2 min is its default"
        )
    if 0 < (size := int(config.get("max_msg_size") or 0)) < MESSAGE_BYTES_MIN:
        found.weak.append(f"max_msg_size is {size} bytes: an event may be larger. {MESSAGE_BYTES_MIN} or more")
    if config.get("persist_mode") == "async":
        found.weak.append("persist_mode is async: it acknowledges events before they are on disk")
    for setting, limit, least in _small_limits(config, refusing=True):
        found.weak.append(
            f"{setting} is {limit} and discard is new: once it is full, the service's events wait. {least} or "
            "more, or -1"
        )
    _keeping(config, found)
    return found.verdict(f"stream {config.get('name')}")


def _keeping(config: dict[str, Any], found: Findings) -> None:
    """Check whether a stream keeps an event until it was read."""
    if config.get("storage", "file") == "memory":
        found.weak.append("storage is memory: a restarted server loses unread events. It should be file")
    age_s = _seconds(config, "max_age")
    if 0 < age_s < KEPT_SHORTEST_S:
        found.weak.append(f"max_age is {age_s:g} s: it drops older events, read or not. A day or more, or 0")
    for setting, limit, least in _small_limits(config, refusing=False):
        found.weak.append(f"{setting} is {limit}: it drops older events, read or not. {least} or more, or -1")


def _small_limits(config: dict[str, Any], *, refusing: bool) -> Iterator[tuple[str, int, int]]:
    """The limits that an outage would reach, each with its recommended minimum: those that refuse the newest event, or
    those that drop the oldest. With `discard: new` alone the limit of a single subject still drops the oldest.
    """
    new = config.get("discard", "old") == "new"
    for setting, refuses, least in (
        ("max_msgs", new, KEPT_EVENTS_MIN),
        ("max_msgs_per_subject", new and bool(config.get("discard_new_per_subject")), KEPT_EVENTS_MIN),
        ("max_bytes", new, KEPT_BYTES_MIN),
    ):
        if refuses is refusing and 0 < (limit := int(config.get(setting) or 0)) < least:
            yield setting, limit, least


def _renames(config: dict[str, Any], subject: str) -> bool:
    transform = config.get("subject_transform") or {}
    source, target = transform.get("src") or ">", transform.get("dest") or ""
    return bool(target) and subject_matches(source, subject) and target not in (subject, ">", source)


def subject_matches(pattern: str, subject: str) -> bool:
    """Whether NATS delivers a subject to a subscription of this pattern: `*` is one token, `>` the rest."""
    wanted, tokens = pattern.split("."), subject.split(".")
    for place, token in enumerate(wanted):
        if token == ">":
            return len(tokens) > place
        if place >= len(tokens) or token not in ("*", tokens[place]):
            return False
    return len(wanted) == len(tokens)


def _seconds(config: dict[str, Any], setting: str) -> float:
    return int(config.get(setting) or 0) / NS_PER_S
