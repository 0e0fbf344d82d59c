// SPDX-License-Identifier: Apache-2.0
// Reads the cosignatures of a checkpoint as C2SP tlog-cosignature writes them down, with @noble/post-quantum for
// ML-DSA-44 and Node's own Ed25519. In: {checkpoint, cosigners: [{vkey, seed}], time}. Out: one finding for each
// cosigner, and for ML-DSA-44 a signature line made here, over the same checkpoint at another time.

import { createHash, createPublicKey, verify as verifyEd25519 } from "node:crypto";
import { readFileSync } from "node:fs";
import { ml_dsa44 } from "@noble/post-quantum/ml-dsa.js";

const bytes = (text) => Buffer.from(text, "utf8");
const uint64 = (value) => {
  const out = Buffer.alloc(8);
  out.writeBigUInt64BE(BigInt(value));
  return out;
};
const opaque = (text) => Buffer.concat([Buffer.from([bytes(text).length]), bytes(text)]);

// struct cosigned_message
const cosignedMessage = (name, time, origin, size, root) =>
  Buffer.concat([
    bytes("subtree/v1\n\0"), opaque(name), uint64(time), opaque(origin), uint64(0), uint64(size), root,
  ]);

const ed25519 = (raw) =>
  createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x: raw.toString("base64url") }, format: "jwk" });

const { checkpoint, cosigners, time } = JSON.parse(readFileSync(0, "utf8"));
const end = checkpoint.indexOf("\n\n") + 1;
const text = checkpoint.slice(0, end);
const [origin, size, root64] = text.split("\n");
const root = Buffer.from(root64, "base64");
const lines = checkpoint.slice(end + 1).trimEnd().split("\n").map((line) => {
  const [dash, name, coded] = line.split(" ");
  const raw = Buffer.from(coded, "base64");
  return { dash, name, id: raw.subarray(0, 4).toString("hex"), data: raw.subarray(4) };
});

const findings = cosigners.map(({ vkey, seed }) => {
  const [name, id] = vkey.split("+");
  const key = Buffer.from(vkey.slice(name.length + id.length + 2), "base64");
  const [kind, pub] = [key[0], key.subarray(1)];
  const expected = createHash("sha256").update(Buffer.concat([bytes(name + "\n"), key])).digest("hex").slice(0, 8);
  const line = lines.find((each) => each.dash === "\u2014" && each.name === name && each.id === id);
  const stamp = line.data.readBigUInt64BE(0);
  const signature = line.data.subarray(8);
  const finding = { kind, keyId: expected === id, time: Number(stamp), bytes: signature.length };
  if (kind === 4) {
    const message = (at) => bytes(`cosignature/v1\ntime ${at}\n${text}`);
    finding.accepted = verifyEd25519(null, message(stamp), ed25519(pub), signature);
    finding.otherAccepted = verifyEd25519(null, message(stamp + 1n), ed25519(pub), signature);
    return finding;
  }
  const pair = ml_dsa44.keygen(Buffer.from(seed, "hex"));
  const message = (at) => cosignedMessage(name, at, origin, size, root);
  finding.publicKey = Buffer.from(pair.publicKey).equals(pub);
  finding.accepted = ml_dsa44.verify(signature, message(stamp), pub);
  finding.otherAccepted = ml_dsa44.verify(signature, message(stamp + 1n), pub);
  const made = Buffer.concat([Buffer.from(id, "hex"), uint64(time), ml_dsa44.sign(message(time), pair.secretKey)]);
  finding.line = `\u2014 ${name} ${made.toString("base64")}\n`;
  return finding;
});
process.stdout.write(JSON.stringify(findings));
