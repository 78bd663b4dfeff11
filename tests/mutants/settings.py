"""Mutants of the process itself: its settings, its address, its standard streams, and its identity at NATS."""

from tests.mutants.mutant import Edit, Mutant

LISTENING = "payment/process/listening.py"
LOGIN = "payment/adapters/nats/login.py"
LINK = "payment/adapters/nats/link.py"
NO_PROCESS = "The simulation begins with valid settings and simulated sockets."

MUTANTS = (
    Mutant(
        name="a-taken-port-is-left-out",
        wrong="An address of a host whose port is in use is silently skipped.",
        endangers="L4",
        test="tests/unit/process/test_listening.py::test_of_several_addresses_all_are_listened_on_at_one_port_or_none",
        edits=(
            Edit(LISTENING, "errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})", "errno.EADDRNOTAVAIL, errno.EADDRINUSE})"),
        ),
        beyond=NO_PROCESS,
    ),
    Mutant(
        name="a-name-without-an-address-crashes",
        wrong="An error of the resolver is not reported as a refusal.",
        endangers="L4",
        test="tests/unit/process/test_listening.py::test_a_host_without_an_address_may_come_from_the_shell",
        edits=(Edit(LISTENING, "except socket.gaierror as error:", "except ConnectionError as error:"),),
        beyond=NO_PROCESS,
    ),
    Mutant(
        name="health-asked-over-ipv4-alone",
        wrong="The container's health check connects to 127.0.0.1, wherever the service listens.",
        endangers="L4",
        test="tests/unit/test_healthcheck.py::test_it_requests_the_address_that_the_service_listens_on",
        edits=(Edit("payment/healthcheck.py", "for each in _reached_at(host):", 'for each in ("127.0.0.1",):'),),
        beyond=NO_PROCESS,
    ),
    Mutant(
        name="a-closed-stdin-becomes-a-socket",
        wrong="A standard stream that the parent closed is left closed.",
        endangers="F33",
        test="tests/unit/process/test_standard_streams.py::test_no_closed_stream_becomes_a_socket",
        edits=(
            Edit(
                "payment/process/standard_streams.py",
                "STANDARD_DESCRIPTORS = (0, 1, 2)",
                "STANDARD_DESCRIPTORS = (1, 2)",
            ),
        ),
        beyond=NO_PROCESS,
    ),
    Mutant(
        name="a-stopped-terminal-holds-up-the-loop",
        wrong="Log lines are written to a blocking terminal, and wait for it.",
        endangers="F39",
        test="tests/unit/ops/test_log_writer.py::test_a_terminal_that_was_stopped_holds_up_no_writer",
        edits=(
            Edit(
                "payment/ops/log_writer.py",
                "return _not_waiting(descriptor) if os.isatty(descriptor) else descriptor",
                "return descriptor",
            ),
        ),
        beyond=NO_PROCESS,
    ),
    Mutant(
        name="a-secret-shown-in-the-wrong-variable",
        wrong="An error message repeats a bad value, though it is another variable's secret.",
        endangers="F37",
        test="tests/unit/settings/test_environment.py::test_a_secret_in_the_wrong_variable_is_never_shown",
        edits=(Edit("payment/settings/variable.py", "if redactor.may_be_shown(shown) else NOT_SHOWN", ""),),
        beyond=NO_PROCESS,
    ),
    Mutant(
        name="a-secret-taken-as-a-name",
        wrong="A key is accepted as a client id or a group, and is then in each line of the log.",
        endangers="F37",
        test="tests/unit/settings/test_environment.py::test_a_secret_in_the_wrong_variable_is_never_shown",
        edits=(
            Edit(
                "payment/settings/variable.py",
                "if self.show is not hidden and redactor",
                "if self.show is hidden and redactor",
            ),
        ),
        beyond=NO_PROCESS,
    ),
    Mutant(
        name="a-live-key-to-a-sandbox-on-loopback",
        wrong="A live key may be sent to http:// on this machine, where a sandbox reports each order as paid.",
        endangers="L2",
        test="tests/unit/settings/test_environment.py::test_a_live_key_is_never_sent_unencrypted",
        edits=(
            Edit(
                "payment/settings/conflicts.py",
                'not base.startswith("http://")',
                'not base.startswith("http://") or "127.0.0.1" in base',
            ),
        ),
        beyond=NO_PROCESS,
    ),
    Mutant(
        name="the-former-key-not-taken",
        wrong="While the key is being changed, tokens of the former one get 401.",
        endangers="F37",
        test="tests/unit/actors/http/test_auth.py::test_while_a_key_is_being_changed_tokens_of_both_are_good",
        edits=(Edit("payment/actors/http/auth.py", "    for key in keys:", "    for key in keys[:1]:"),),
        beyond=NO_PROCESS,
    ),
    Mutant(
        name="nats-password-sent-as-it-stands",
        wrong="User and password of NATS_URL are sent without being percent-decoded.",
        endangers="F37",
        test="tests/unit/adapters/nats/test_link.py::test_a_received_message_is_decoded",
        edits=(Edit(LINK, '(unquote(part, errors="strict") for part in', "(part for part in"),),
        beyond=NO_PROCESS,
    ),
    Mutant(
        name="no-signature-where-none-is-asked-for",
        wrong="A server that accepts connections without credentials gets none, and the service is another user there.",
        endangers="F37",
        test="tests/unit/adapters/nats/test_login_servers.py::test_an_nkey",
        edits=(Edit(LINK, "            self._auth_configured = True\n", ""),),
        beyond=NO_PROCESS,
    ),
    Mutant(
        name="tls-variables-without-tls",
        wrong="The connection to a server without TLS is not encrypted though a CA is configured.",
        endangers="F37",
        test="tests/unit/adapters/nats/test_link.py::test_where_a_ca_is_named_a_server_without_tls_gets_nothing",
        edits=(Edit(LINK, 'if scheme == "tls" or (scheme == "nats" and self._wants_tls):', 'if scheme == "tls":'),),
        beyond=NO_PROCESS,
    ),
    Mutant(
        name="an-accounts-seed-taken-for-a-users",
        wrong="The kind of an nkey is not checked.",
        endangers="F37",
        test="tests/unit/adapters/nats/test_login.py::test_a_seed_of_another_kind_is_refused",
        edits=(Edit(LOGIN, "body[1] >> 3) != PREFIX_USER:", "body[1] >> 3) < 0:"),),
        beyond=NO_PROCESS,
    ),
    Mutant(
        name="a-live-key-by-an-address-in-capitals",
        wrong="A live key is sent unencrypted where the address begins with HTTP:// in capitals.",
        endangers="L1",
        test="tests/unit/settings/test_environment.py::test_a_live_key_is_never_sent_unencrypted",
        edits=(Edit("payment/settings/values.py", "{url.scheme}://", "{value.partition('://')[0]}://"),),
        beyond=NO_PROCESS,
    ),
)
