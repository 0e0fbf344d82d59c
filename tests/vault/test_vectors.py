# SPDX-License-Identifier: Apache-2.0
"""The library whose post-quantum cryptography Ipse relies on, against vectors that neither it nor we wrote."""

from __future__ import annotations

from collections import Counter
from hashlib import shake_256
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, Suite

from tests.ledger.thirdparty import vectors

ML_KEM_768, X_WING = 0x41, 0x647A
KEMS = {ML_KEM_768: KEM.MLKEM768, X_WING: KEM.MLKEM768_X25519}
KDFS = {0x01: KDF.HKDF_SHA256, 0x11: KDF.SHAKE256}
AEADS: dict[int, tuple[AEAD, type[AESGCM] | type[ChaCha20Poly1305]]] = {
    1: (AEAD.AES_128_GCM, AESGCM),
    3: (AEAD.CHACHA20_POLY1305, ChaCha20Poly1305),
}


def cases(name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """(group, case) of a Wycheproof suite, all of them."""
    (suite,) = vectors(f"wycheproof/{name}_test.json").values()
    found = [(group, case) for group in suite["testGroups"] for case in group["tests"]]
    assert len(found) == suite["numberOfTests"]
    return found


def x_wing_key(seed: bytes) -> MLKEM768X25519PrivateKey:
    """The key pair of a 32-byte X-Wing seed (draft-connolly-cfrg-xwing-kem, expandDecapsulationKey)."""
    expanded = shake_256(seed).digest(96)
    return MLKEM768X25519PrivateKey(
        MLKEM768PrivateKey.from_seed_bytes(expanded[:64]), X25519PrivateKey.from_private_bytes(expanded[64:])
    )


def private_key(kem: int, data: bytes) -> MLKEM768X25519PrivateKey | MLKEM768PrivateKey:
    return x_wing_key(data) if kem == X_WING else MLKEM768PrivateKey.from_seed_bytes(data)


def hpke_cases() -> list[dict[str, Any]]:
    """Those of hpke-pq whose KEM we use, bytes as bytes."""
    (found,) = vectors("hpke-pq.json").values()
    assert isinstance(found, list)
    return [
        {name: bytes.fromhex(value) if isinstance(value, str) else value for name, value in case.items()}
        for case in found
        if case["kem_id"] in KEMS
    ]


def test_wycheproof_ml_dsa_65_signatures_have_the_outcome_they_say() -> None:
    count: Counter[str] = Counter()
    for group, case in cases("mldsa_65_verify"):
        data = [bytes.fromhex(x) for x in (case["sig"], case["msg"], case.get("ctx", ""))]
        try:
            MLDSA65PublicKey.from_public_bytes(bytes.fromhex(group["publicKey"])).verify(*data)
            outcome = "valid"
        except (InvalidSignature, ValueError):
            outcome = "invalid"
        assert outcome == case["result"], case["tcId"]
        count[outcome] += 1
    assert count == {"valid": 79, "invalid": 131}


def test_wycheproof_ml_kem_768_ciphertexts_have_the_outcome_they_say() -> None:
    count: Counter[str] = Counter()
    for _, case in cases("mlkem_768"):
        seed, ciphertext = bytes.fromhex(case["seed"]), bytes.fromhex(case["c"])
        try:
            key = MLKEM768PrivateKey.from_seed_bytes(seed)
            shared = key.decapsulate(ciphertext)
            outcome = "valid"
            assert key.public_key().public_bytes_raw().hex() == case["ek"], case["tcId"]
            assert shared.hex() == case["K"], case["tcId"]
        except ValueError:
            outcome = "invalid"
        assert outcome == case["result"], case["tcId"]
        count[outcome] += 1
    assert count == {"valid": 153, "invalid": 40}


def test_wycheproof_x25519_secrets_are_those_they_say_and_a_zero_one_is_refused() -> None:
    count: Counter[str] = Counter()
    for _, case in cases("x25519"):
        key = X25519PrivateKey.from_private_bytes(bytes.fromhex(case["private"]))
        try:
            shared = key.exchange(X25519PublicKey.from_public_bytes(bytes.fromhex(case["public"])))
            outcome = "agreed"
            assert shared.hex() == case["shared"], case["tcId"]
        except ValueError:
            outcome = "refused"
        assert (outcome == "refused") == (not any(bytes.fromhex(case["shared"]))), case["tcId"]
        count[outcome] += 1
    assert count.total() == 518
    assert min(count.values()) > 20


def test_hpke_opens_what_the_reference_key_schedule_sealed() -> None:
    """The public call has no associated data, and the reference's ciphertexts have some.

    So the reference's own ciphertext is opened with its key and nonce, which shows that these are what it says; what
    is sealed under the same key and nonce without associated data must then open by the public call. Its KEM, combiner
    and key schedule have to give exactly that key and nonce.
    """
    seen = []
    for case in hpke_cases():
        aead, cipher = AEADS[case["aead_id"]]
        first = {name: bytes.fromhex(value) for name, value in case["encryptions"][0].items()}
        assert first["nonce"] == case["base_nonce"]
        assert cipher(case["key"]).decrypt(first["nonce"], first["ct"], first["aad"]) == first["pt"]
        suite = Suite(KEMS[case["kem_id"]], KDFS[case["kdf_id"]], aead)
        sealed = case["enc"] + cipher(case["key"]).encrypt(case["base_nonce"], first["pt"], None)
        key = private_key(case["kem_id"], case["skRm"])
        assert suite.decrypt(sealed, key, info=case["info"]) == first["pt"]
        with pytest.raises(InvalidTag):
            suite.decrypt(sealed, key, info=case["info"] + b"x")
        seen.append(case["kem_id"])
    assert sorted(seen) == [ML_KEM_768, X_WING, X_WING]


def test_the_suite_that_wraps_data_keys_opens_what_it_sealed_for_its_key_and_context_only() -> None:
    suite = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
    key, other = x_wing_key(bytes(32)), x_wing_key(bytes(31) + b"\1")
    sealed = suite.encrypt(b"a data key", key.public_key(), info=b"context")
    assert len(sealed) == 1120 + len(b"a data key") + 16
    assert suite.decrypt(sealed, key, info=b"context") == b"a data key"
    for wrong_key, info in ((other, b"context"), (key, b"another")):
        with pytest.raises(InvalidTag):
            suite.decrypt(sealed, wrong_key, info=info)
