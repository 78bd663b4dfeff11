"""What the driver is given, whatever `MONGO_URL` says; and which URLs no client can be made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from payment.adapters.mongo.options import problem_of
from payment.adapters.mongo.store import MongoStore
from payment.ports.store import Committed
from tests.support.servers.scripted_mongo import ScriptedMongo
from tests.unit.adapters.mongo.test_store import letter, order

BREAKING = "&".join(
    [
        "w=0",
        "wtimeoutMS=1",
        "journal=false",
        "retryWrites=true",
        "readPreference=secondary",
        "readConcernLevel=local",
        "socketTimeoutMS=1",
        "timeoutMS=1",
        "connectTimeoutMS=1",
        "serverSelectionTimeoutMS=1",
        "maxPoolSize=1",
        "heartbeatFrequencyMS=600000",
    ]
)
"""Each of them breaks a promise where it wins: a write that no majority has, one sent twice, a deadline of nothing."""


async def test_a_url_weakens_no_write_and_no_read() -> None:
    """F26, F43: durable writes that are sent once, reads of what a majority has, from the primary."""
    server = ScriptedMongo()
    store = MongoStore(f"{await server.start()}?{BREAKING}", "test")
    assert await store.commit([order("o1")]) == [Committed.WRITTEN]
    assert await store.commit([order("o1", rev=2)]) == [Committed.WRITTEN]
    await store.add_dead_letter(letter())
    await store.probe()
    await store.load(["o1"])
    writes = server.named("insert") + server.named("update")
    concerns = [write["writeConcern"] for write in writes]
    assert all(concern | {"wtimeout": 0} == {"w": "majority", "j": True, "wtimeout": 0} for concern in concerns)
    assert all(concern["wtimeout"] >= 2_500 for concern in concerns)
    assert not any("txnNumber" in write or "maxTimeMS" in write for write in writes)
    finds = server.named("find")
    assert all(find["readConcern"] == {"level": "majority"} and "maxTimeMS" not in find for find in finds)
    await store.close()
    await server.stop()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("minPoolSize=10", "minPoolSize must be smaller or equal to maxPoolSize"),
        ("w=0&journal=true", "Cannot set w to 0 and j to True"),
        ("fsync=true&journal=true", "Can't set both j and fsync at the same time"),
        ("maxStalenessSeconds=90", "Read preference primary cannot be combined with maxStalenessSeconds"),
        ("authMechanism=MONGODB-OIDC", "authentication with MONGODB-OIDC requires"),
        ("tls=true&tlsCAFile=/no/such.pem", "[Errno 2] "),
        ("tls=true&tlsCertificateKeyFile=/no/such.pem", "[Errno 2] "),
    ],
)
def test_what_the_driver_refuses_is_a_problem_of_the_settings(options: str, words: str) -> None:
    """Kind 5: the settings are checked by making what will be used."""
    assert words in (problem_of(f"mongodb://host/payment?{options}") or "")


def test_a_file_that_holds_no_certificate_is_a_problem(tmp_path: Path) -> None:
    """Kind 5: it was a traceback, and exit code 1."""
    pem = tmp_path / "ca.pem"
    pem.write_text("no certificate")
    assert problem_of(f"mongodb://host/payment?tls=true&tlsCAFile={pem}")


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://host/payment",
        "mongodb://u:p@a:1,b:2/payment?replicaSet=rs&tls=true&authSource=admin",
        "mongodb+srv://u:p@cluster.example.invalid/payment?retryWrites=true&w=majority",
        "mongodb://host/payment?useNewUrlParser=true",
        f"mongodb://host/payment?{BREAKING}",
    ],
)
def test_what_the_driver_takes_is_none(url: str) -> None:
    """Nothing is reached; DNS is asked when a client is used: that it is away is no fault of the settings."""
    assert problem_of(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://user:hunter2@host/payment?minPoolSize=10",
        "mongodb://user:hunter2@host:hunter2/payment",
        "mongodb://hunter2@host/payment?authMechanism=hunter2",
        "mongodb://u:p@h/payment?authMechanismProperties=AWS_SESSION_TOKEN:hunter2&authMechanism=MONGODB-OIDC",
        "mongodb+srv://u:hunter2@h.example/payment?minPoolSize=10",
        "mongodb://u:hunter2@a,b/payment?directConnection=true",
    ],
)
def test_what_is_said_holds_no_secret(url: str) -> None:
    """Whatever the driver repeats of the URL."""
    problem = problem_of(url)
    assert problem
    assert "hunter2" not in problem
