"""The smallest self-signed certificate that TLS accepts: Ed25519, one name, no extension.

Written out in DER (RFC 5280, RFC 8410) because the library's X.509 part costs an agent a tenth of the memory that it
may have, for a certificate in which nobody reads more than its bytes' hash.
"""

from __future__ import annotations

import ssl

from ringfence.net.crypto import SigningKey

_SEQUENCE, _SET, _INTEGER, _BITS, _OCTETS, _OID, _TEXT = 0x30, 0x31, 0x02, 0x03, 0x04, 0x06, 0x0C
_UTC, _TIME, _VERSION = 0x17, 0x18, 0xA0
_ED25519 = bytes.fromhex("2b6570")
_COMMON_NAME = bytes.fromhex("550403")


def own_certificate(key: SigningKey) -> tuple[bytes, bytes]:
    """The certificate in DER, and certificate and private key together in PEM."""
    algorithm = _der(_SEQUENCE, _der(_OID, _ED25519))
    name = _der(
        _SEQUENCE, _der(_SET, _der(_SEQUENCE, _der(_OID, _COMMON_NAME), _der(_TEXT, b"ringfence-agent")))
    )
    # Nobody checks the dates: the nodes' clocks may be wrong.
    validity = _der(_SEQUENCE, _der(_UTC, b"200101000000Z"), _der(_TIME, b"99991231235959Z"))
    public = _der(_SEQUENCE, algorithm, _der(_BITS, b"\x00", key.public))
    signed = _der(
        _SEQUENCE,
        _der(_VERSION, _der(_INTEGER, b"\x02")),
        _der(_INTEGER, b"\x01"),
        algorithm,
        name,
        validity,
        name,
        public,
    )
    certificate = _der(_SEQUENCE, signed, algorithm, _der(_BITS, b"\x00", key.sign(signed)))
    private = _der(_SEQUENCE, _der(_INTEGER, b"\x00"), algorithm, _der(_OCTETS, _der(_OCTETS, key.seed)))
    return certificate, (ssl.DER_cert_to_PEM_cert(certificate) + _pem("PRIVATE KEY", private)).encode()


def _pem(label: str, der: bytes) -> str:
    return ssl.DER_cert_to_PEM_cert(der).replace("CERTIFICATE", label)


def _der(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    size = len(body)
    length = (
        bytes([size])
        if size < 0x80
        else bytes([0x80 | (size.bit_length() + 7) // 8]) + size.to_bytes((size.bit_length() + 7) // 8, "big")
    )
    return bytes([tag]) + length + body
