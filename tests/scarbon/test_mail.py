"""Pages by mail, to a real server and a fake sendmail: to the right people, once, whatever happens on the way."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accounting.document import Period
from accounting.ledger.mailings import Mailing, keep_mailing, mailings_of
from accounting.ledger.reading import Books
from accounting.ledger.store import Ledger
from scarbon.letters import file_name, make_letter
from scarbon.mailing import _sent
from site_config.load import load
from site_config.mail import Mail
from tests.ledger.servers import Place
from tests.scarbon.mail_server import PASSWORD, USER, Box, mail_server, make_certificate
from tests.site import Done, Site, change, query

#: The recording's days, which the books hold to their end.
DAYS = ("-S", "2026-10-25", "-E", "2026-10-29")
NAME = "2026-10-25..2026-10-28"


@pytest.fixture(scope="module")
def month(days: Site, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """25 to 28 October 2026 in Paris, accounted with a tree of accounts; not to be written to.

    dept has no jobs, and dora; below it are two accounts with jobs, of which the first has ada. Others have nobody.
    """
    site = days.copy(tmp_path_factory.mktemp("month"))
    first, second, *_ = accounts = sorted({line.split("|")[3] for line in _jobs(site)})
    dump = ["Cluster|Account|ParentName|User|Coord Accounts|Org|Descr", "gamma|root||||root|"]
    dump += ["gamma|dept|root||dora|dept|", f"gamma|{first}|dept||ada,dora||", f"gamma|{second}|dept||dora||"]
    dump += [f"gamma|{name}|root||||" for name in accounts[2:]]
    (site.folder / "accounts.txt").write_text("\n".join(dump) + "\n")
    site.change("path: jobs.sacct", "path: jobs.sacct, accounts: accounts.txt")
    site.collect()
    return site


def _jobs(site: Site) -> list[str]:
    lines = (site.folder / "jobs.sacct").read_text().splitlines()
    place = lines[0].split("|").index("Account")
    return [f"|||{line.split('|')[place]}" for line in lines[1:] if line.split("|")[place]]


@pytest.fixture
def accounts(month: Site) -> list[str]:
    """The accounts with jobs."""
    rows = query(month.ledger, "SELECT DISTINCT account FROM payers WHERE account IS NOT NULL ORDER BY 1")
    assert len(rows) >= 3
    return [name for (name,) in rows]


@pytest.fixture
def site(month: Site, tmp_path: Path) -> Site:
    return month.copy(tmp_path / "site")


@pytest.fixture
def box() -> Iterator[Box]:
    with mail_server() as box:
        yield box


@pytest.fixture
def blank(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages that cost nothing to make, where it is not about them."""
    made: dict[str, str | bytes] = {"md": "page", "html": "<p>page</p>", "pdf": b"%PDF-1.7"}
    monkeypatch.setattr("scarbon.mailing.render", lambda document, form, look: made[form])


def declare(site: Site, *lines: str, by: Box | None = None) -> None:
    """How the site sends mail; `by`: to this server, as it is."""
    way = () if by is None else (f"smtp: {{host: 127.0.0.1, port: {by.port}, encryption: none}}",)
    text = "".join(f"  {line}\n" for line in ("from: Test site <carbon@hpc.example>", *way, *lines))
    site.config.write_text(site.config.read_text() + f"mail:\n{text}")


def mail(site: Site, *words: str | Path) -> Done:
    return site.scarbon("report", *DAYS, "--each", "account", "--mail", *words)


def sent(site: Site) -> list[tuple[Any, ...]]:
    return query(site.ledger, "SELECT account, period, recipient FROM mailings ORDER BY sent_s")


def body(letter: EmailMessage, kind: str) -> str:
    part = letter.get_body((kind,))
    assert part is not None
    return str(part.get_content())


# --- who gets what


def test_each_account_s_page_goes_to_those_who_coordinate_it(site: Site, box: Box, accounts: list[str]) -> None:
    first, second, third, *_ = accounts
    declare(site, "domain: hpc.example", "users: {dora: dora@dept.example}", by=box)
    began_s = time.time()
    done = mail(site)
    assert done.code == 0, done
    # dora coordinates all of dept: those below that have somebody of their own are ada's
    expected = [("dept", "dora@dept.example"), (first, "ada@hpc.example"), (second, "dora@dept.example")]
    assert sorted((one[0], one[2]) for one in sent(site)) == sorted(expected)
    assert done.out.splitlines() == [f"{account}: sent to {address}" for account, address in sorted(expected)]
    assert f"scarbon: {third}: nobody coordinates it, and mail.accounts names nobody" in done.err
    assert len(done.err.splitlines()) == len(accounts) - 2

    letters = {str(letter["Subject"]).split(": ")[1].split(",")[0]: letter for _, _, letter in box.letters}
    letter = letters[first]
    assert letter["From"] == "Test site <carbon@hpc.example>"
    assert letter["To"] == "ada@hpc.example"
    assert str(letter["Subject"]).startswith(f"Test site: {first}, 25–28 Oct")
    assert (letter["Auto-Submitted"], letter["Content-Language"]) == ("auto-generated", "en")
    assert {sender for sender, _, _ in box.letters} == {"carbon@hpc.example"}

    # what is in it is what the command prints of that account
    page = site.good("report", *DAYS, "-A", first, "--by", "user", "--format", "md").out
    assert _figures(body(letter, "plain")) == _figures(page)
    assert _figures(body(letters["dept"], "plain")) == _figures(
        site.good("report", *DAYS, "-A", f"dept,{first},{second}", "--by", "user", "--format", "md").out
    )
    html = body(letter, "html")
    assert html.startswith("<!DOCTYPE html>") and html.rstrip().endswith("</html>")
    assert [part.get_content_type() for part in letter.walk()] == [
        "multipart/alternative", "text/plain", "text/html",
    ]  # fmt: skip
    ((sent_s, digest),) = query(site.ledger, "SELECT sent_s, digest FROM mailings WHERE account = ?", first)
    assert began_s <= sent_s <= time.time()
    assert all(len(line) <= 998 for raw in box.raw for line in raw.split(b"\r\n"))  # RFC 5322, 2.1.1
    assert digest == hashlib.sha256(html.replace("\r\n", "\n").encode()).hexdigest()


def _figures(text: str) -> list[str]:
    """A page without the line that says when it was made."""
    return [line for line in text.splitlines() if line.strip() and not line.startswith("Made on ")]


@pytest.mark.usefixtures("blank")
def test_addresses_by_the_configuration_stand_in_for_coordinators(site: Site, box: Box, accounts: list[str]) -> None:
    first, second, third, *others = accounts
    declare(
        site,
        f"accounts: {{{first}: [lead@phys.example, vice@phys.example], {third}: x@y.example, nowhere: n@y.org}}",
        by=box,
    )
    done = mail(site)
    assert done.code == 0
    assert box.recipients == ["lead@phys.example", "vice@phys.example", "x@y.example"]
    assert [letter["To"] for _, _, letter in box.letters] == box.recipients  # nobody is told of the others
    said = done.err.splitlines()
    assert "scarbon: mail.accounts names 'nowhere', which the books do not know" in said
    for account in ("dept", second):
        assert f"scarbon: {account}: 'dora' coordinates it and has no address: name one in mail.users" in said
    assert len(said) == 3 + len(others)


@pytest.mark.usefixtures("blank")
def test_only_the_accounts_that_are_asked_for(site: Site, box: Box, accounts: list[str]) -> None:
    declare(site, "domain: hpc.example", by=box)
    done = mail(site, "-A", accounts[1])
    assert (done.code, done.err, box.recipients) == (0, "", ["dora@hpc.example"])
    assert f"no account '{accounts[1]}x'" in mail(site, "-A", f"{accounts[1]}x").refused(2)


# --- once


@pytest.mark.usefixtures("blank")
def test_a_page_is_sent_once_unless_again_is_said(site: Site, box: Box, accounts: list[str]) -> None:
    declare(site, "domain: hpc.example", by=box)
    assert mail(site).code == 0
    before = list(box.recipients)
    assert len(before) == 3
    done = mail(site)
    assert done.code == 0
    assert box.recipients == before
    assert all(" has it since 20" in line for line in done.out.splitlines())
    assert len(done.out.splitlines()) == 3
    assert mail(site, "--again", "-A", accounts[0]).code == 0
    assert box.recipients == [*before, "ada@hpc.example"]
    assert len(sent(site)) == 4


@pytest.mark.usefixtures("blank")
def test_who_is_refused_stops_nobody_and_is_the_only_one_next_time(site: Site, box: Box, accounts: list[str]) -> None:
    declare(site, f"accounts: {{{accounts[0]}: [a@x.example, b@x.example, c@x.example]}}", by=box)
    box.refused = {"b@x.example"}
    done = mail(site, "-A", accounts[0])
    assert done.code == 1
    assert done.err == f"scarbon: {accounts[0]}: not sent to b@x.example: 550 5.1.1 no such user here\n"
    assert box.recipients == ["a@x.example", "c@x.example"]
    box.refused = set()
    assert mail(site, "-A", accounts[0]).code == 0
    assert box.recipients == ["a@x.example", "c@x.example", "b@x.example"]
    assert [one[1:] for one in sent(site)] == [(NAME, address) for address in box.recipients]


@pytest.mark.usefixtures("blank")
def test_a_connection_that_is_lost_in_the_middle_costs_one_letter(site: Site, box: Box, accounts: list[str]) -> None:
    declare(site, f"accounts: {{{accounts[0]}: [a@x.example, b@x.example, c@x.example]}}", by=box)
    box.dropped = {"b@x.example"}
    done = mail(site, "-A", accounts[0])
    assert done.code == 1
    assert done.err == f"scarbon: {accounts[0]}: not sent to b@x.example: the connection was lost\n"
    assert box.recipients == ["a@x.example", "c@x.example"]
    assert box.connections == 2
    box.dropped = set()
    assert mail(site, "-A", accounts[0]).code == 0
    assert box.recipients[2:] == ["b@x.example"]


@pytest.mark.usefixtures("blank")
def test_a_server_that_is_gone_is_not_waited_for_again_and_again(
    site: Site, accounts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes the first letter and is gone with the second: the third is not tried."""
    with mail_server() as box:
        declare(site, f"accounts: {{{accounts[0]}: [a@x.example, b@x.example, c@x.example]}}", by=box)
        box.dropped = {"b@x.example"}
        from scarbon.letters import BySmtp

        connect, tried = BySmtp._connect, []

        def once(self: BySmtp) -> Any:
            tried.append(1)
            if len(tried) > 1:
                raise ConnectionRefusedError(111, "Connection refused")
            return connect(self)

        monkeypatch.setattr(BySmtp, "_connect", once)
        done = mail(site, "-A", accounts[0])
    assert done.code == 1
    assert done.err.splitlines()[1].endswith(
        f"not sent to c@x.example: 127.0.0.1:{box.port} is gone: Connection refused"
    )
    assert len(tried) == 2
    assert [one[2] for one in sent(site)] == ["a@x.example"]


@pytest.mark.usefixtures("blank")
def test_who_is_stopped_half_way_has_noted_what_was_sent(
    site: Site, box: Box, accounts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(site, f"accounts: {{{accounts[0]}: [a@x.example, b@x.example]}}", by=box)
    from scarbon.letters import BySmtp

    send = BySmtp.send

    def stopped(self: BySmtp, letter: EmailMessage, recipient: str) -> None:
        if recipient == "b@x.example":
            raise KeyboardInterrupt
        send(self, letter, recipient)

    with monkeypatch.context() as patched:
        patched.setattr(BySmtp, "send", stopped)
        done = mail(site, "-A", accounts[0])
    assert (done.code, done.out, done.err.strip()) == (1, "", "scarbon: interrupted")
    assert mail(site, "-A", accounts[0]).code == 0
    assert box.recipients == ["a@x.example", "b@x.example"]


@pytest.mark.usefixtures("blank")
def test_two_do_not_send_at_once(site: Site, box: Box, accounts: list[str]) -> None:
    import fcntl

    declare(site, f"accounts: {{{accounts[0]}: a@x.example}}", by=box)
    with Path(f"{site.ledger}.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        line = mail(site, "-A", accounts[0]).refused(1)
    assert "another run is writing" in line
    assert box.recipients == []


def test_a_page_is_sent_of_what_is_over_and_accounted(site: Site, box: Box) -> None:
    declare(site, by=box)
    line = site.scarbon("report", "--month", "2026-10", "--each", "account", "--mail").refused()
    assert line == (
        "scarbon: gamma is accounted up to 2026-10-29 00:00, which is not all of 2026-10; "
        "run scarbon collect first: a page is sent once"
    )
    line = site.scarbon("report", "--month", "this", "--each", "account", "--mail").refused()
    assert "is not over; pages are sent once, when their period is; name an earlier one" in line


def test_what_was_sent_is_noted_on_every_database(place: Place) -> None:
    noted = [
        Mailing("phys", "2026-10", "ada@x.example", 1793500000.25, "0" * 64),
        Mailing("phys", "2026-10", "ada@x.example", 1793500001.5, "1" * 64),
        Mailing("Phys", "2026-10", "ada@x.example", 1793500002.0, "2" * 64),
        Mailing("phys", "2026-09", "ada@x.example", 1793500003.0, "3" * 64),
    ]
    with closing(Ledger(place.url, "UTC", place.password)) as ledger:
        for one in noted:
            with ledger.transaction() as connection:
                keep_mailing(connection, one)
        with ledger.transaction() as connection:
            assert mailings_of(connection, "2026-10") == noted[:3]
    with Books(place.url, place.password) as books:
        sent = _sent(books, Period.of("month", date(2026, 10, 1)))
    assert sent == {("phys", "ada@x.example"): 1793500001.5, ("Phys", "ada@x.example"): 1793500002.0}


# --- signing in


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed (tests/install-debian.sh)")
    return make_certificate(tmp_path_factory.mktemp("tls") / "server.pem")


@pytest.mark.usefixtures("blank")
@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")  # it does not count TLS from the start
@pytest.mark.parametrize("encryption", ["starttls", "tls"])
def test_encrypted_and_signed_in(
    site: Site, accounts: list[str], certificate: Path, encryption: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (site.folder / "password").write_text(f"{PASSWORD}\n")
    with mail_server(certificate, starttls=encryption == "starttls", auth=True) as box:
        declare(
            site,
            f"accounts: {{{accounts[0]}: a@x.example}}",
            "smtp:",
            f"  {{host: 127.0.0.1, port: {box.port}, encryption: {encryption}, ca_file: {certificate}.crt,",
            f"   username: {USER}, password_file: password}}",
        )
        assert mail(site, "-A", accounts[0]).code == 0
        assert (box.recipients, box.encrypted) == (["a@x.example"], [True])

        # a password that is wrong, from the environment this time
        site.change("password_file: password", "password_env: MAIL_PASSWORD")
        monkeypatch.setenv("MAIL_PASSWORD", "wrong")
        line = mail(site, "--again", "-A", accounts[0]).refused()
        assert f"the mail server 127.0.0.1:{box.port} refuses scarbon: 535 " in line
        assert "wrong" not in line
        monkeypatch.delenv("MAIL_PASSWORD")
        assert "$MAIL_PASSWORD: is not set" in mail(site, "--again", "-A", accounts[0]).refused()

        # a certificate that nobody vouches for
        monkeypatch.setenv("MAIL_PASSWORD", PASSWORD)
        site.change(f"ca_file: {certificate}.crt,", "")
        line = mail(site, "--again", "-A", accounts[0]).refused()
        assert "cannot be used: its certificate is not trusted: self-signed certificate" in line
        assert box.recipients == ["a@x.example"]


@pytest.mark.usefixtures("blank")
def test_a_server_that_cannot_be_used_is_told_in_a_line(site: Site, accounts: list[str]) -> None:
    with mail_server() as box:
        declare(site, f"accounts: {{{accounts[0]}: a@x.example}}", f"smtp: {{host: 127.0.0.1, port: {box.port}}}")
        line = mail(site, "-A", accounts[0]).refused()
    assert "STARTTLS extension not supported by server" in line
    assert "check mail.smtp (encryption: starttls)" in line
    line = mail(site, "-A", accounts[0]).refused()
    assert f"the mail server 127.0.0.1:{box.port} cannot be used: Connection refused" in line
    assert sent(site) == []


@pytest.mark.usefixtures("blank")
def test_what_cannot_be_sent_to_a_server_is_told_before(
    site: Site, accounts: list[str], certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAIL_PASSWORD", "Sésame")
    with mail_server(certificate, auth=True) as box:
        declare(
            site,
            f"accounts: {{{accounts[0]}: a@x.example}}",
            "smtp:",
            f"  {{host: 127.0.0.1, port: {box.port}, ca_file: {certificate}.crt,",
            "   username: x, password_env: MAIL_PASSWORD}",
        )
        assert "the user's name or the password is not ASCII" in mail(site, "-A", accounts[0]).refused()
    site.change(f"ca_file: {certificate}.crt", "ca_file: nowhere.crt")
    line = mail(site, "-A", accounts[0]).refused()
    assert f"{site.folder}/nowhere.crt has no certificates: No such file or directory; check mail.smtp.ca_file" in line


@pytest.mark.usefixtures("blank")
def test_doctor_tells_whether_mail_would_be_taken(
    site: Site, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mail_lines() -> list[str]:
        lines = site.scarbon("doctor").out.splitlines()
        return [line for line in lines if "mail by" in line or "mail server" in line]

    assert mail_lines() == []  # the site sends none
    monkeypatch.setenv("MAIL_PASSWORD", PASSWORD)
    with mail_server(certificate, auth=True) as box:
        declare(
            site, "smtp:", f"  {{host: 127.0.0.1, port: {box.port}, ca_file: {certificate}.crt,",
            f"   username: {USER}, password_env: MAIL_PASSWORD}}",
        )  # fmt: skip
        assert mail_lines()[0] == f"ok    mail by 127.0.0.1:{box.port}: it is taken"
        monkeypatch.setenv("MAIL_PASSWORD", "wrong")
        assert mail_lines()[0].startswith(f"FAIL  the mail server 127.0.0.1:{box.port} refuses scarbon: 535 ")
        monkeypatch.delenv("MAIL_PASSWORD")
        assert f"mail by 127.0.0.1:{box.port}: $MAIL_PASSWORD: is not set" in mail_lines()[0]
        assert box.letters == []


# --- without a server


def test_a_dry_run_writes_what_would_be_sent(site: Site, accounts: list[str], tmp_path: Path) -> None:
    declare(
        site,
        "pdf: true",
        f"accounts: {{{accounts[0]}: [a@x.example, b@x.example]}}",
        "reply_to: help@hpc.example",
        "subject: 'Carbon of {account} at {site}'",
        "smtp: {host: 127.0.0.1, port: 1, username: x, password_env: NOT_SET}",
    )
    folder = tmp_path / "letters"
    done = mail(site, "-A", accounts[0], "--dry-run", "-o", folder)
    assert (done.code, done.err) == (0, "")
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == [f"001-{accounts[0]}.eml", f"002-{accounts[0]}.eml"]
    assert done.out.splitlines()[0] == f"{accounts[0]}: to a@x.example: {files[0]}"
    letter = message_from_bytes(files[1].read_bytes(), policy=policy.default)
    assert isinstance(letter, EmailMessage)
    assert (letter["To"], letter["Reply-To"]) == ("b@x.example", "help@hpc.example")
    assert letter["Subject"] == f"Carbon of {accounts[0]} at Test site"
    (pdf,) = letter.iter_attachments()
    assert (pdf.get_content_type(), pdf.get_filename()) == ("application/pdf", f"{accounts[0]}-{NAME}.pdf")
    assert pdf.get_content().startswith(b"%PDF-")
    assert body(letter, "html").startswith("<!DOCTYPE html>")
    assert sent(site) == []


#: Keeps its words and its input; fails for one address.
SENDMAIL = """#!/bin/sh
printf '%s\\n' "$@" >"$0.words.$$"
cat >"$0.letter.$$"
case "$*" in *b@x.example*) echo "b@x.example... User unknown" >&2; exit 67;; esac
"""


@pytest.mark.usefixtures("blank")
def test_by_sendmail(site: Site, accounts: list[str], tmp_path: Path) -> None:
    program = tmp_path / "sendmail"
    program.write_text(SENDMAIL)
    program.chmod(0o755)
    declare(site, f"sendmail: {program}", f"accounts: {{{accounts[0]}: [a@x.example, b@x.example]}}")
    done = mail(site, "-A", accounts[0])
    assert done.code == 1
    assert done.err == (
        f"scarbon: {accounts[0]}: not sent to b@x.example: {program} failed with 67: b@x.example... User unknown\n"
    )
    assert [one[2] for one in sent(site)] == ["a@x.example"]
    words = {file.read_text() for file in tmp_path.glob("sendmail.words.*")}
    assert words == {f"-i\n-f\ncarbon@hpc.example\n--\n{address}\n" for address in ("a@x.example", "b@x.example")}
    for file in tmp_path.glob("sendmail.letter.*"):
        raw = file.read_bytes()
        assert b"\r" not in raw
        letter = message_from_bytes(raw, policy=policy.default)
        assert isinstance(letter, EmailMessage)
        assert body(letter, "plain").strip() == "page"
    program.unlink()
    assert (
        f"{program} is no program that can be run here; check mail.sendmail" in mail(site, "-A", accounts[0]).refused()
    )


# --- names that mean harm


@pytest.mark.usefixtures("blank")
def test_hostile_names_stay_where_they_belong(site: Site, box: Box, accounts: list[str]) -> None:
    """An account and a coordinator whose names carry a header, as nobody's Slurm has them."""
    evil = "x\r\nBcc: evil@x.example\r\n\r\n<script>\x1b[31m"
    change(site.ledger, "UPDATE payers SET account = ? WHERE account = ?", evil, accounts[0])
    for table in ("accounts", "members", "coordinators"):
        change(site.ledger, f"UPDATE {table} SET account = ? WHERE account = ?", evil, accounts[0])
    change(
        site.ledger, "UPDATE coordinators SET user_name = ? WHERE user_name = 'ada'", "-oQ/tmp\r\nRCPT TO:<e@x.example>"
    )
    declare(site, "domain: hpc.example", by=box)
    done = mail(site)
    assert done.code == 0
    assert "\\r\\nRCPT TO:<e@x.example>' coordinates it and has no address" in done.err
    assert set(box.recipients) == {"dora@hpc.example"}
    change(site.ledger, "UPDATE coordinators SET user_name = 'ada' WHERE user_name LIKE '-oQ%'")
    assert mail(site).code == 0
    ((_, recipients, letter),) = (one for one in box.letters if "Bcc" in str(one[2]["Subject"]))
    assert recipients == ["ada@hpc.example"]
    assert letter["Bcc"] is None and letter["To"] == "ada@hpc.example"
    shown = "x\ufffd\ufffdBcc: evil@x.example\ufffd\ufffd\ufffd\ufffd<script>\ufffd[31m"
    assert str(letter["Subject"]).startswith(f"Test site: {shown}, 25–28 Oct")


PLAIN = Mail.model_validate({"from": "Hpc <carbon@hpc.example>", "sendmail": "/bin/true"})


@settings(max_examples=100, deadline=None)
@given(subject=st.text(), text=st.text(alphabet=st.characters(codec="utf-8")))
def test_no_subject_makes_another_header(subject: str, text: str) -> None:
    letter = make_letter(PLAIN, "ada@hpc.example", subject, text, "<p>x</p>", None, "en")
    read = message_from_bytes(letter.as_bytes(), policy=policy.default)
    assert sorted(name.lower() for name in read.keys()) == [  # noqa: SIM118 (each as often as it is there)
        "auto-submitted", "content-language", "content-type", "date", "from", "message-id", "mime-version", "subject",
        "to",
    ]  # fmt: skip
    assert read["To"] == "ada@hpc.example"
    assert all(len(line) <= 998 for line in letter.as_bytes().split(b"\r\n"))  # RFC 5322, 2.1.1


@pytest.mark.parametrize(
    ("text", "name"),
    [("phys-2026-10.pdf", "phys-2026-10.pdf"), ("../../etc/x", "_.._etc_x"), ("-rf", "rf"), ("", "_"), ("é/\0", "___")],
)
def test_names_of_files_stay_in_their_folder(text: str, name: str) -> None:
    assert file_name(text) == name


# --- what cannot be meant


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--mail"], "--mail and --each go together"),
        (["--each", "account"], "--mail and --each go together"),
        (["--again"], "--mail and --each go together"),
        (["--mail", "--each", "account", "--dry-run"], "--dry-run and -o"),
        (["--mail", "--each", "account", "-o", "here"], "--dry-run and -o"),
        (["--mail", "--each", "account", "-u", "ada"], "--user does not go with --mail"),
        (["--mail", "--each", "account", "--format", "pdf"], "--format does not go with --mail"),
        (["--mail", "--each", "user"], "'user' is not 'account'"),
    ],
)
def test_options_that_do_not_go_together(month: Site, words: list[str], said: str) -> None:
    assert said in month.scarbon("report", *DAYS, *words).refused(2)


def test_a_site_that_sends_no_mail(month: Site) -> None:
    line = mail(month).refused()
    assert line == "scarbon: the configuration does not say how to send mail; declare mail: (see docs/mail.md)"


@pytest.mark.parametrize("folder", [True, False])
def test_where_a_dry_run_cannot_write(site: Site, accounts: list[str], tmp_path: Path, folder: bool) -> None:
    declare(site, "sendmail: /bin/true", "domain: x.example")
    (tmp_path / "file").touch()
    done = mail(site, "-A", accounts[0], "--dry-run", "-o", tmp_path / "file" / ("below" if folder else ""))
    assert str(tmp_path / "file") in done.refused(1 if folder else 2)


Refused = Callable[[str], str]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["from: carbon"], "mail.from: must be an address, or a name and an address <in brackets>, but is 'carbon'"),
        (["sendmial: /bin/x"], "mail.sendmial: unknown key; did you mean 'sendmail'?"),
        ([], "mail: needs either smtp: {host: …} or sendmail: /usr/sbin/sendmail, and not both"),
        (["sendmail: /bin/x", "smtp: {host: h}"], "mail: needs either smtp"),
        (["sendmail: /bin/x", "domain: 'x y'"], "mail.domain: must be a domain such as example.org, but is 'x y'"),
        (["sendmail: /bin/x", "users: {ada: ada}"], "mail.users.ada: must be an address such as ada@example.org"),
        (["sendmail: /bin/x", "accounts: {phys: ['a@x.org', '-x@y.org']}"], "mail.accounts.phys[1]: must be an"),
        (["sendmail: /bin/x", "accounts: {phys: []}"], "mail.accounts.phys: must have at least 1 entry"),
        (["sendmail: /bin/x", 'users: {ada: "a@x.org\\nBcc: b@x.org"}'], "mail.users.ada: must be an address"),
        (["sendmail: /bin/x", "subject: '{acount}'"], "may name site, account, period; did you mean 'account'?"),
        (["sendmail: /bin/x", "subject: '{'"], "mail.subject: is not understood"),
        (["smtp: {host: h, username: x}"], "mail.smtp: username goes with password_file or password_env"),
        (["smtp: {host: h, password: x}"], "mail.smtp.password: a secret does not belong in this file"),
        (
            ["smtp: {host: h, encryption: none, username: x, password_env: Y}"],
            "mail.smtp.encryption: must be starttls or tls where a password is sent",
        ),
        (["smtp: {host: h, encryption: ssl}"], "mail.smtp.encryption: must be one of starttls, tls, none, but is"),
        (["smtp: {host: h, port: 70000}"], "mail.smtp.port: must be less than 65536"),
    ],
)  # fmt: skip
def test_what_a_site_cannot_mean(site: Site, lines: list[str], said: str) -> None:
    from site_config.errors import ConfigError

    if not any(line.startswith("from") for line in lines):
        lines = ["from: carbon@hpc.example", *lines]
    else:
        lines = [*lines, "sendmail: /bin/x"]
    site.config.write_text(site.config.read_text() + "mail:\n" + "".join(f"  {line}\n" for line in lines))
    with pytest.raises(ConfigError) as error:
        load(site.config)
    assert said in str(error.value)


@pytest.mark.parametrize(("encryption", "port"), [("starttls", 587), ("tls", 465), ("none", 25)])
def test_each_encryption_has_its_port(site: Site, encryption: str, port: int) -> None:
    declare(site, f"smtp: {{host: h, encryption: {encryption}}}")
    found = load(site.config).mail
    assert found is not None and found.smtp is not None
    assert found.smtp.used_port == port
