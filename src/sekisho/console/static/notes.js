// Keys, signed notes and cosignatures (C2SP signed-note, tlog-cosignature) over WebCrypto, and the values they are made of.

export class Invalid extends Error {}
export class Unsupported extends Error {}

export const ED25519 = 1; // signature types (signed-note, "Signature types")
export const COSIGNATURE = 4;
const TYPES = new Map([
  [ED25519, "an Ed25519 key (type 01)"],
  [COSIGNATURE, "an Ed25519 cosigner's key (type 04)"],
  [6, "an ML-DSA-44 cosigner's key (type 06), which this version can't check"],
]);
const FIELD = 2n ** 255n - 19n; // of Curve25519 (RFC 8032)
const ORDER_8 = 0x05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826n;
// y of the curve's points of order 1, 2, 4 and 8. Under such a key one signature fits any text.
const SMALL_ORDER = new Set([0n, 1n, FIELD - 1n, ORDER_8, FIELD - ORDER_8]);
const SIGNATURES_MAX = 64;
const COSIGNATURE_BYTES = 72; // u64 time, Ed25519 signature
export const COUNT_MAX = 2n ** 63n - 1n;
// What can't stand in a key's name: '+', white space of any script, control characters.
const NO_NAME = /[+\u0000-\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/;
const CONTROL = /[\u0000-\u0009\u000b-\u001f]/; // in a note's text: all but the newline
export const encoder = new TextEncoder();

export function require(condition, reason) {
  if (!condition) throw new Invalid(reason);
}

// -- keys and notes

/** Without what may stand around a key in a file. (`String.trim` takes more away than other languages do.) */
export function trim(text) {
  return text.replace(/^[ \t\r\n]+|[ \t\r\n]+$/g, "");
}

/** A verifier key: name+hex(keyID)+base64(type ‖ key), of one signature type. */
export async function parseVkey(text, type) {
  const [name, id, ...rest] = text.split("+");
  require(rest.length > 0 && name && !NO_NAME.test(name), "not a vkey");
  const key = decodeBase64(rest.join("+")); // base64 may hold '+', names may not
  const found = key.length ? (TYPES.get(key[0]) ?? `a key of type ${hex(key.slice(0, 1))}`) : "nothing";
  require(key[0] === type, `the vkey is not ${TYPES.get(type)}, but ${found}`);
  require(key.length === 33, `the vkey is not ${TYPES.get(type)}: its key has ${key.length - 1} bytes`);
  const keyId = (await sha256(concat(encoder.encode(`${name}\n`), key))).slice(0, 4);
  require(hex(keyId) === id, "the vkey's key id does not belong to its key");
  const publicKey = key.slice(1);
  const y = BigInt.asUintN(255, BigInt(`0x${hex(publicKey.toReversed())}`)) % FIELD;
  require(!SMALL_ORDER.has(y), "the vkey's key is of small order: it would vouch for anything");
  return { name, keyId, publicKey, vkey: text };
}

/** A note taken apart, nothing verified: its text, and name, key id and signature of each line. */
export function parseNote(note, what) {
  const end = note.lastIndexOf("\n\n");
  require(end >= 0 && note.length > end + 2 && note.endsWith("\n"), `the ${what} is not a signed note`);
  const text = note.slice(0, end + 1);
  require(!CONTROL.test(text), `the ${what} holds control characters`);
  const lines = note.slice(end + 2, -1).split("\n");
  require(lines.length <= SIGNATURES_MAX, `the ${what} has too many signatures`);
  return { text, signatures: lines.map(parseSignature) };
}

/** Whether `key` signed the note. One line of a known key that does not verify refuses it (signed-note). */
export async function isSignedBy(note, key) {
  const signatures = signaturesOf(note, key);
  for (const signature of signatures) {
    const holds = await verifyEd25519(key.publicKey, signature, encoder.encode(note.text));
    require(holds, `the signature of ${key.name} does not verify`);
  }
  return signatures.length > 0;
}

/** When (POSIX seconds, the latest) `key` cosigned the note; null if it did not. Refused as above. */
export async function cosignedAt(note, key) {
  let latest = null;
  for (const signature of signaturesOf(note, key)) {
    const what = `the cosignature of ${key.name}`;
    require(signature.length === COSIGNATURE_BYTES, `${what} is not ${COSIGNATURE_BYTES} bytes`);
    const time = new DataView(signature.buffer, signature.byteOffset).getBigUint64(0);
    require(time <= COUNT_MAX, `${what} bears an impossible time`);
    const message = encoder.encode(`cosignature/v1\ntime ${time}\n${note.text}`);
    require(await verifyEd25519(key.publicKey, signature.slice(8), message), `${what} does not verify`);
    if (latest === null || time > latest) latest = time;
  }
  return latest;
}

function signaturesOf(note, key) {
  return note.signatures
    .filter(({ name, keyId }) => name === key.name && equal(keyId, key.keyId)) // others' are passed over
    .map(({ signature }) => signature);
}

function parseSignature(line) {
  const match = /^— ([^ ]+) (.*)$/su.exec(line);
  require(match !== null && !NO_NAME.test(match[1]), "a malformed signature line");
  const data = decodeBase64(match[2]);
  require(data.length >= 5, "a signature line without a signature");
  return { name: match[1], keyId: data.slice(0, 4), signature: data.slice(4) };
}

// -- values

export function isText(value) {
  return typeof value === "string";
}

/** Standard base64 in its one spelling. */
export function decodeBase64(text) {
  require(isText(text) && /^[A-Za-z0-9+/]*={0,2}$/.test(text), "not base64");
  let binary;
  try {
    binary = atob(text);
  } catch {
    throw new Invalid("not base64");
  }
  require(btoa(binary) === text, "base64 that is not canonical");
  return Uint8Array.from(binary, (character) => character.charCodeAt(0));
}

export function concat(...parts) {
  const joined = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    joined.set(part, offset);
    offset += part.length;
  }
  return joined;
}

export function equal(left, right) {
  return left.length === right.length && left.every((byte, i) => byte === right[i]);
}

export function hex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// -- WebCrypto

export async function sha256(data) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", data));
}

/** Whether the signature holds. A key that is no point of the curve makes browsers throw: nothing verifies under it. */
function verifyEd25519(publicKey, signature, data) {
  return verifyOrThrow(publicKey, signature, data).catch(() => false);
}

async function verifyOrThrow(publicKey, signature, data) {
  const key = await crypto.subtle.importKey("raw", publicKey, { name: "Ed25519" }, false, ["verify"]);
  return crypto.subtle.verify({ name: "Ed25519" }, key, signature, data);
}

/** RFC 8032 section 7.1, test 1: a browser must accept it and refuse it altered, or its verdicts are worth nothing. */
export async function requireEd25519() {
  const bytes = (text) => Uint8Array.from(text.match(/../g), (pair) => parseInt(pair, 16));
  const publicKey = bytes("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
  const signature = bytes(
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
  );
  try {
    const empty = new Uint8Array();
    if (!(await verifyOrThrow(publicKey, signature, empty))) throw new Unsupported("Ed25519 does not work here");
    if (await verifyOrThrow(publicKey, signature, Uint8Array.of(1))) throw new Unsupported("Ed25519 does not work here");
  } catch (error) {
    throw error instanceof Unsupported ? error : new Unsupported("this browser can't check Ed25519 signatures");
  }
}
