import pytest

from issuer_keys import CERTIFICATE_ENDS, certificate, certificate_digest
from sekisho.catalog.interfaces import ClientCertificate, Organisation
from sekisho.identity.certificates import CertificateHolders
from sekisho.identity.errors import CertificateRefused

VERSION_3, VERSION_6 = bytes.fromhex("a003020102"), bytes.fromhex("a003020105")  # RFC 5280 section 4.1.2.1, in DER


def holders(**declared):
    """One organisation per keyword, with the certificates it declares."""
    return CertificateHolders(
        Organisation(name, name, certificates=tuple(certificates)) for name, certificates in declared.items()
    )


def find(known, der):
    return known.find(der, certificate_digest(der))


def declared(**fields):
    return ClientCertificate(("caller",), **fields)


def test_one_certificate_by_its_digest():
    der, other = certificate(("CN", "a")), certificate(("CN", "a"), serial=2)
    found = find(holders(bank=[declared(sha256=certificate_digest(der))]), der)
    assert (found.organisation, found.name, found.expires) == (
        "bank",
        ("sha256", certificate_digest(der)),
        CERTIFICATE_ENDS.timestamp(),
    )
    assert find(holders(bank=[declared(sha256=certificate_digest(der))]), other) is None


ROBOTS, SERVICES = {"dns": "*.robots.example"}, {"uri": "spiffe://td/sa/*"}


@pytest.mark.parametrize(
    ("fields", "fits", "name", "other"),
    [
        (ROBOTS, {"dns": ["R1.robots.example"]}, ("dns", "r1.robots.example"), {"dns": ["a.b.robots.example"]}),
        (ROBOTS, {"dns": ["r1.robots.example"]}, ("dns", "r1.robots.example"), {"dns": ["robots.example"]}),
        ({"dns": "r.example"}, {"dns": ["x.jp", "r.example"]}, ("dns", "r.example"), {"uri": ["https://r.example"]}),
        (SERVICES, {"uri": ["spiffe://td/sa/x"]}, ("uri", "spiffe://td/sa/x"), {"uri": ["spiffe://td/sa/x/y"]}),
        (SERVICES, {"uri": ["spiffe://td/sa/x"]}, ("uri", "spiffe://td/sa/x"), {"uri": ["spiffe://td/sa/x?y"]}),
    ],
)
def test_alternative_names_by_pattern(fields, fits, name, other):
    known = holders(bank=[declared(**fields)])
    assert find(known, certificate(**fits)).name == name
    assert find(known, certificate(**other)) is None


def test_a_renewed_certificate_has_the_same_name_and_one_for_two_has_another():
    known = holders(bank=[declared(dns="*.r.example")])
    first, renewed = (find(known, certificate(dns=["a.r.example", "x.example"], serial=serial)) for serial in (1, 2))
    assert first.name == renewed.name == ("dns", "a.r.example")
    both = [
        find(known, certificate(dns=names)).name
        for names in (["a.r.example", "b.r.example"], ["b.r.example", "a.r.example"])
    ]
    assert both == [("dns", "a.r.example", "b.r.example")] * 2


def test_a_subject_by_all_of_its_patterns():
    known = holders(bank=[declared(subject=(("CN", "robot-*"), ("O", "Maker")))])
    found = find(known, certificate(("O", "Maker"), ("CN", "robot-7")))
    assert found.name == ("subject", "CN=robot-7,O=Maker")
    for subject in (
        [("O", "Maker")],
        [("CN", "robot-7")],
        [("O", "maker"), ("CN", "robot-7")],
        [("O", "Maker"), ("CN", "robot-")],
        [("O", "Maker"), ("CN", "x"), ("CN", "robot-7")],
        [("O", "Maker"), ("CN", "robot-7"), ("CN", "x")],
        [("O", "Other"), ("O", "Maker"), ("CN", "robot-7")],
    ):
        assert find(known, certificate(*subject)) is None, subject


def test_what_fits_two_declarations_is_refused():
    known = holders(bank=[declared(dns="*.a.example")], maker=[declared(subject=(("CN", "robot"),))])
    assert find(known, certificate(dns=["x.a.example"])).organisation == "bank"
    with pytest.raises(CertificateRefused, match="more than one"):
        find(known, certificate(("CN", "robot"), dns=["x.a.example"]))


def test_a_digest_is_not_held_against_patterns():
    der = certificate(("CN", "robot"))
    known = holders(bank=[declared(sha256=certificate_digest(der))], maker=[declared(subject=(("CN", "robot"),))])
    assert find(known, der).organisation == "bank"
    assert find(known, certificate(("CN", "robot"), serial=2)).organisation == "maker"


def test_a_revoked_certificate_is_refused_and_its_fellows_are_not():
    der, other = certificate(("CN", "robot")), certificate(("CN", "robot"), serial=2)
    known = holders(bank=[declared(subject=(("CN", "robot"),), revoked=(certificate_digest(der),))])
    with pytest.raises(CertificateRefused, match="revoked"):
        find(known, der)
    assert find(known, other) is not None


def test_what_can_not_be_read_is_refused_where_it_could_matter():
    assert find(holders(), b"no certificate") is None
    of_no_version = certificate(dns=["x.a.example"]).replace(VERSION_3, VERSION_6)
    for der in (b"no certificate", of_no_version):
        with pytest.raises(CertificateRefused, match="can't be read"):
            find(holders(bank=[declared(dns="*.a.example")]), der)
