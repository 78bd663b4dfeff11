"""The verdict on each setting of a consumer or stream of other programs (F53): no server, no time."""

from __future__ import annotations

from typing import Any

import pytest

from payment.adapters.nats.jetstream.settings import (
    NS_PER_S,
    consumer_verdict,
    published_stream_verdict,
    read_stream_verdict,
    subject_matches,
)

SUBJECT = "order:cancelled"
DAY_NS = 86_400 * NS_PER_S

OURS = {
    "durable_name": "g-order:cancelled",
    "name": "g-order:cancelled",
    "deliver_policy": "all",
    "ack_policy": "explicit",
    "ack_wait": 8 * NS_PER_S,
    "max_deliver": -1,
    "filter_subject": SUBJECT,
    "replay_policy": "instant",
    "max_waiting": 512,
    "max_ack_pending": 1000,
    "num_replicas": 0,
}
"""The configuration that nats-server 2.15 returns for a consumer of this service or of its release 0.1.0."""
STREAM = {
    "name": "s",
    "subjects": [SUBJECT],
    "retention": "limits",
    "max_consumers": -1,
    "max_msgs": -1,
    "max_bytes": -1,
    "max_age": 0,
    "max_msgs_per_subject": -1,
    "max_msg_size": -1,
    "discard": "old",
    "storage": "file",
    "num_replicas": 1,
    "duplicate_window": 120 * NS_PER_S,
    "sealed": False,
}
WORK_QUEUE = {"retention": "workqueue"}
INTEREST = {"retention": "interest"}
ALL = {"subjects": ["*"]}


def of_consumer(config: dict[str, Any], stream: dict[str, Any]) -> tuple[str, str]:
    verdict = consumer_verdict("g", {**OURS, **config}, {**STREAM, **stream}, SUBJECT, 8.0)
    return "; ".join(verdict.refused), "; ".join(verdict.weak)


REFUSED_CONSUMERS = [
    ({"ack_policy": "none"}, {}, "ack_policy is none"),
    ({"ack_policy": "all"}, {}, "ack_policy is all"),
    ({"max_deliver": 5}, {}, "after 5 tries an event is given up, a cancel too"),
    ({"max_deliver": 1}, {}, "max_deliver is 1"),
    ({"max_deliver": 3, "backoff": [10 * NS_PER_S]}, {}, "max_deliver is 3"),
    ({"headers_only": True}, {}, "headers_only"),
    ({"deliver_subject": "push"}, {}, "push consumer"),
    ({"filter_subject": "order:created"}, {}, "no order:cancelled would come"),
    ({"filter_subject": "", "filter_subjects": ["a", "b.>"]}, {}, "its filter is a, b.>"),
    ({"filter_subject": "*"}, WORK_QUEUE, "from a work queue"),
    ({"filter_subject": ""}, WORK_QUEUE | ALL, "from a work queue"),
    ({"filter_subject": "", "filter_subjects": [SUBJECT, "x"]}, WORK_QUEUE | ALL, "from a work queue"),
    ({"priority_groups": ["a"]}, {}, "priority_groups"),
    ({"max_expires": NS_PER_S // 100}, {}, "max_expires is 0.01 s"),
    ({"inactive_threshold": 60 * NS_PER_S}, INTEREST, "its stream then drops new events"),
]
WEAK_CONSUMERS = [
    ({"deliver_policy": "new"}, {}, "deliver_policy is new"),
    ({"deliver_policy": "last"}, {}, "deliver_policy is last"),
    ({"deliver_policy": "by_start_sequence", "opt_start_seq": 7}, {}, "deliver_policy is by_start_sequence"),
    ({"deliver_policy": "by_start_time"}, {}, "deliver_policy is by_start_time"),
    ({"replay_policy": "original"}, {}, "replay_policy"),
    ({"ack_wait": NS_PER_S}, {}, "ack_wait is 1 s"),
    ({"ack_wait": 3600 * NS_PER_S}, {}, "ack_wait is 3600 s"),
    ({"backoff": [NS_PER_S // 10, 60 * NS_PER_S]}, {}, "backoff is 0.1 s"),
    ({"backoff": [60 * NS_PER_S, 900 * NS_PER_S]}, {}, "backoff is 900 s"),
    ({"max_ack_pending": 1}, {}, "max_ack_pending is 1"),
    ({"inactive_threshold": 60 * NS_PER_S}, {}, "inactive_threshold is 60 s"),
    ({"mem_storage": True}, INTEREST, "mem_storage"),
    ({"max_bytes": 10}, {}, "max_bytes is 10"),
]
FIT_CONSUMERS = [
    ({}, {}),
    ({}, WORK_QUEUE),
    ({}, INTEREST),
    ({"ack_wait": 30 * NS_PER_S}, {}),
    ({"max_ack_pending": -1}, {}),
    ({"max_deliver": 0}, {}),
    ({"filter_subject": ""}, {}),
    ({"filter_subject": ""}, WORK_QUEUE),
    ({"filter_subject": "*"}, ALL),
    ({"filter_subject": "", "filter_subjects": [SUBJECT]}, WORK_QUEUE),
    ({"sample_freq": "100", "description": "x", "metadata": {"a": "b"}, "num_replicas": 3}, {}),
    ({"max_batch": 2, "max_expires": NS_PER_S, "mem_storage": True}, {}),
]


@pytest.mark.parametrize(("config", "stream", "words"), REFUSED_CONSUMERS, ids=str)
def test_a_consumer_that_would_lose_events_is_refused(
    config: dict[str, Any], stream: dict[str, Any], words: str
) -> None:
    """F53: the reason names the setting, or what would be lost."""
    refused, _ = of_consumer(config, stream)
    assert refused.startswith("consumer g: ")
    assert words in refused


@pytest.mark.parametrize(("config", "stream", "words"), WEAK_CONSUMERS, ids=str)
def test_a_consumer_that_promises_less_is_used_and_reported(
    config: dict[str, Any], stream: dict[str, Any], words: str
) -> None:
    """F53: no delivered event is lost, so reading goes on."""
    refused, weak = of_consumer(config, stream)
    assert refused == ""
    assert words in weak


@pytest.mark.parametrize(("config", "stream"), FIT_CONSUMERS, ids=str)
def test_a_consumer_of_ours_and_harmless_settings_are_fine(config: dict[str, Any], stream: dict[str, Any]) -> None:
    """F53: above all one of an earlier release."""
    assert of_consumer(config, stream) == ("", "")


def test_an_ack_wait_that_the_settings_of_this_service_ask_for_is_fine() -> None:
    """A shorter ack wait of the service's own is no weakness."""
    assert consumer_verdict("g", {**OURS, "ack_wait": NS_PER_S}, STREAM, SUBJECT, 1.0).weak == ()


LOSSY_STREAMS = [
    ({"max_msgs_per_subject": 1}, "max_msgs_per_subject is 1: it drops older events"),
    ({"max_msgs_per_subject": 1, "discard": "new"}, "max_msgs_per_subject is 1: it drops older events"),
    ({"max_msgs": 100}, "max_msgs is 100"),
    ({"max_bytes": 1024}, "max_bytes is 1024"),
    ({"max_age": 60 * NS_PER_S}, "max_age is 60 s"),
    ({"storage": "memory"}, "storage is memory"),
]
FIT_STREAMS: list[dict[str, Any]] = [
    {},
    {"max_msgs": 1_000_000, "max_bytes": 2**30, "max_age": 7 * DAY_NS},
    {"max_msgs": 1_000_000, "max_bytes": 2**30, "discard": "new"},
    {"republish": {"src": ">", "dest": "copy.>"}, "num_replicas": 3, "deny_delete": True, "allow_rollup_hdrs": True},
    {"subject_transform": {"src": "other", "dest": "renamed"}},
    {"subject_transform": {"src": SUBJECT, "dest": SUBJECT}},
    {"mirror_direct": True, "allow_direct": True, "compression": "s2", "sources": [{"name": "x"}]},
]


@pytest.mark.parametrize(("config", "words"), LOSSY_STREAMS, ids=str)
def test_a_stream_that_drops_events_is_reported_for_both_directions(config: dict[str, Any], words: str) -> None:
    """F53: stopping to read or to publish would lose more."""
    for verdict in (
        read_stream_verdict({**STREAM, **config}, SUBJECT),
        published_stream_verdict({**STREAM, **config}, SUBJECT, 1),
    ):
        assert verdict.refused == ()
        assert words in "; ".join(verdict.weak)


@pytest.mark.parametrize("config", FIT_STREAMS, ids=str)
def test_a_stream_of_ours_and_harmless_settings_are_fine(config: dict[str, Any]) -> None:
    """F53: a stream that refuses new events loses nothing in silence."""
    for verdict in (
        read_stream_verdict({**STREAM, **config}, SUBJECT),
        published_stream_verdict({**STREAM, **config}, SUBJECT, 1),
    ):
        assert (verdict.refused, verdict.weak) == ((), ())


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"no_ack": True}, "no_ack"),
        ({"sealed": True}, "sealed"),
        ({"allow_msg_counter": True}, "nothing but counters"),
        ({"subject_transform": {"src": ">", "dest": "x.>"}}, "subject_transform"),
        ({"subject_transform": {"src": "", "dest": "x.>"}}, "subject_transform"),
        ({"subject_transform": {"src": SUBJECT, "dest": "other"}}, "subject_transform"),
    ],
    ids=str,
)
def test_a_stream_that_can_not_take_our_events_is_not_published_to(config: dict[str, Any], words: str) -> None:
    """F53: events wait in the database, where nothing is lost."""
    assert words in "; ".join(published_stream_verdict({**STREAM, **config}, SUBJECT, 1).refused)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"duplicate_window": NS_PER_S}, "duplicate_window is 1 s"),
        ({"max_msg_size": 100}, "max_msg_size is 100"),
        ({"persist_mode": "async"}, "persist_mode"),
        (INTEREST, "retention is interest and it has no consumer"),
        ({"max_msgs": 1, "discard": "new"}, "max_msgs is 1 and discard is new"),
        ({"max_bytes": 10, "discard": "new"}, "max_bytes is 10 and discard is new"),
        (
            {"max_msgs_per_subject": 1, "discard": "new", "discard_new_per_subject": True},
            "max_msgs_per_subject is 1 and discard is new",
        ),
    ],
    ids=str,
)
def test_a_stream_that_promises_our_readers_less_is_reported(config: dict[str, Any], words: str) -> None:
    """F53: publishing goes on."""
    verdict = published_stream_verdict({**STREAM, **config}, SUBJECT, 0)
    assert verdict.refused == ()
    assert words in "; ".join(verdict.weak)


@pytest.mark.parametrize("limit", ["max_msgs", "max_msgs_per_subject", "max_bytes"])
def test_a_stream_that_refuses_the_newest_loses_nothing_that_we_read(limit: str) -> None:
    """Its publishers get an error, and publish again."""
    config = {limit: 1, "discard": "new", "discard_new_per_subject": True}
    assert read_stream_verdict({**STREAM, **config}, SUBJECT).weak == ()


def test_an_interest_stream_with_a_reader_is_fine() -> None:
    """It keeps what its consumers have not read."""
    assert published_stream_verdict({**STREAM, **INTEREST}, SUBJECT, 1).weak == ()


def test_a_stream_that_renames_is_not_read_and_a_sealed_one_is() -> None:
    """F53: events from before it was sealed are still read."""
    renamed = read_stream_verdict({**STREAM, "subject_transform": {"src": "order:*", "dest": "x"}}, SUBJECT)
    assert renamed.refused == ()  # `*` is a whole token: `order:*` is a name like any other
    assert read_stream_verdict({**STREAM, "subject_transform": {"src": "*", "dest": "x"}}, SUBJECT).refused
    sealed = read_stream_verdict({**STREAM, "sealed": True}, SUBJECT)
    assert (sealed.refused, len(sealed.weak)) == ((), 1)


@pytest.mark.parametrize(
    ("pattern", "subject", "matches"),
    [
        ("a.b", "a.b", True),
        ("a.*", "a.b", True),
        ("*", "a.b", False),
        (">", "a.b", True),
        ("a.>", "a", False),
        ("a.>", "a.b.c", True),
        ("a.b.c", "a.b", False),
        ("a.*.c", "a.b.c", True),
    ],
)
def test_subjects_match_as_nats_matches_them(pattern: str, subject: str, matches: bool) -> None:
    """The rules of NATS: a token, or the rest."""
    assert subject_matches(pattern, subject) is matches
