// Verifying a Sekisho receipt in the browser, offline, from the file and the site's pinned key alone.
//
// Written from the formats in ARCHITECTURE.md ("Entries", "Receipts"), C2SP signed-note, tlog-checkpoint and
// tlog-proof, and RFC 6962. It imports nothing and asks nobody: WebCrypto does SHA-256 and Ed25519.
// The obligations are numbered as in src/sekisho/ledger/verify.py and discharged in that order; the first that fails
// ends it, as everything after would stand on what does not hold. (11 comes before 10, which needs content to compare.)

export const OBLIGATIONS = [
  { number: 1, en: "The file is a receipt in its one canonical form", ja: "ファイルは正規形の受領証である" },
  { number: 2, en: "Its site key is the one you pinned", ja: "拠点の鍵は、固定した鍵と一致する" },
  { number: 3, en: "The site key signed the enrolment of the log key", ja: "台帳の鍵の登録に、拠点の鍵の署名がある" },
  { number: 4, en: "Every entry is well formed, of this request and of one site", ja: "すべての記録は正しい形式で、このリクエストと一つの拠点に属する" },
  { number: 5, en: "The enrolled log key signed the checkpoint", ja: "チェックポイントに、登録された台帳の鍵の署名がある" },
  { number: 6, en: "Every entry is in the log that the checkpoint commits to", ja: "すべての記録は、チェックポイントの台帳に含まれている" },
  { number: 7, en: "The attempts are numbered without a gap, and a denial is the last", ja: "試行の番号に欠番がなく、拒否は最後にある" },
  { number: 8, en: "Every permitted attempt has its one outcome, a denial has none", ja: "許可された試行には結果がちょうど一つあり、拒否には結果がない" },
  { number: 9, en: "Every commitment has its salt, and they fit", ja: "すべてのコミットメントとソルトが対応し、一致する" },
  { number: 10, en: "Content that was given is what was committed to", ja: "与えられた内容は、記録された内容と一致する" },
  { number: 11, en: "What was chosen was permitted, or the decision says that monitor mode let it pass", ja: "選ばれた配備先は許可されているか、監視モードで通したと記録されている" },
];

export const VERIFIED = "verified"; // by a key that was pinned
export const CONSISTENT = "consistent"; // all holds, but nobody says whose it is
export const INVALID = "invalid";
export const UNSUPPORTED = "unsupported"; // this browser can't check Ed25519 signatures

const FORMAT = "sekisho.receipt/1";
const RECEIPT_BYTES_MAX = 32 * 2 ** 20;
const ENTRIES_MAX = 256;
const ENTRY_BYTES_MAX = 65535;
const DEPTH_MAX = 64;
const SIGNATURES_MAX = 64;
const PROOF_HASHES_MAX = 63;
const COUNT_MAX = 2n ** 63n - 1n;
const CONTENT_FIELDS = ["answer", "received", "sent"];
const RECEIPT_FIELDS = ["enrolment", "entries", "format", "request", "site_key"];
const ENTRY_FIELDS = ["entry", "proof", "salts"];
const ENVELOPE_FIELDS = ["actor", "at", "body", "id", "kind", "seq", "site", "v", "writer"];
const ENVELOPE_WITH_REQUEST = [...ENVELOPE_FIELDS, "request"].sort();
const COMMITMENT_FIELDS = ["bytes", "salt_sha256", "sha256"];
const UUID7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const HEX64 = /^[0-9a-f]{64}$/;
// What can't stand in a key's name: '+', white space of any script, control characters.
const NO_NAME = /[+\u0000-\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/;
const CONTROL = /[\u0000-\u0009\u000b-\u001f]/; // in a note's text: all but the newline
const encoder = new TextEncoder();

class Invalid extends Error {}
class Unsupported extends Error {}

function require(condition, reason) {
  if (!condition) throw new Invalid(reason);
}

/**
 * Verify a receipt.
 *
 * @param {Uint8Array} bytes the file, exactly
 * @param {{trusted?: string[], content?: Object<string, Uint8Array>}} options pinned site keys (vkeys), and content to
 *   compare, by field: `received`, `sent` or `answer`
 * @returns {Promise<{verdict: string, reason: string, obligations: {number: number, held: boolean|null}[],
 *   receipt: object|null, origin: string, size: string}>} `held` is null for what was not asked (2 without a pinned
 *   key, 10 without content) or not reached. Never throws for what is in the file.
 */
export async function verifyReceipt(bytes, { trusted = [], content = {} } = {}) {
  const held = new Map(OBLIGATIONS.map(({ number }) => [number, null]));
  const result = { verdict: INVALID, reason: "", receipt: null, origin: "", size: "" };
  let current = 1;
  const discharge = async (number, check) => {
    current = number;
    const value = await check();
    held.set(number, true);
    return value;
  };
  try {
    await requireEd25519();
    await verifyInOrder(bytes, { trusted, content }, discharge, result);
    result.verdict = trusted.length ? VERIFIED : CONSISTENT;
  } catch (error) {
    if (error instanceof Unsupported) {
      result.verdict = UNSUPPORTED;
    } else if (error instanceof Invalid) {
      held.set(current, false);
    } else {
      throw error;
    }
    result.reason = error.message;
  }
  result.obligations = OBLIGATIONS.map(({ number }) => ({ number, held: held.get(number) }));
  return result;
}

async function verifyInOrder(bytes, { trusted, content }, discharge, result) {
  const receipt = await discharge(1, () => parseReceipt(bytes));
  result.receipt = receipt;
  if (trusted.length) {
    await discharge(2, async () => {
      const pinned = await Promise.all(trusted.map((text) => parseVkey(text.trim())));
      require(
        pinned.some((key) => key.vkey === receipt.siteKey.vkey),
        `the receipt is of the site ${receipt.siteKey.name}, whose key is not the one you pinned`,
      );
    });
  }
  const logKey = await discharge(3, () => openEnrolment(receipt.enrolment, receipt.siteKey));
  await discharge(4, () => verifyEnvelopes(receipt));
  const checkpoint = await discharge(5, () => verifyCheckpoint(receipt, logKey));
  result.origin = checkpoint.origin;
  result.size = String(checkpoint.size);
  await discharge(6, () => verifyInclusions(receipt, checkpoint));
  await discharge(7, () => verifyAttempts(receipt.entries));
  await discharge(8, () => verifyOutcomes(receipt.entries));
  await discharge(9, () => verifyCommitments(receipt.entries));
  await discharge(11, () => verifyChoices(receipt.entries));
  const fields = Object.keys(content).sort();
  if (fields.length) {
    await discharge(10, async () => {
      for (const field of fields) await verifyContent(receipt.entries, field, content[field]);
    });
  }
}

// -- obligation 1: the form

async function parseReceipt(bytes) {
  require(bytes.length <= RECEIPT_BYTES_MAX, "the file is larger than 32 MiB");
  const value = parseCanonical(bytes);
  require(isObject(value) && value.format === FORMAT, `the file is not a receipt of the form ${FORMAT}`);
  requireFields(value, RECEIPT_FIELDS, "the receipt");
  for (const field of ["request", "enrolment", "site_key"]) require(isText(value[field]), `${field} is not a text`);
  const entries = value.entries;
  require(
    Array.isArray(entries) && entries.length > 0 && entries.length <= ENTRIES_MAX,
    `a receipt holds 1 to ${ENTRIES_MAX} entries`,
  );
  const siteKey = await parseVkey(value.site_key);
  return { request: value.request, siteKey, enrolment: value.enrolment, entries: entries.map(parseEntry) };
}

function parseEntry(value) {
  require(isObject(value), "an entry of the receipt is not an object");
  requireFields(value, ENTRY_FIELDS, "an entry of the receipt");
  require(isObject(value.salts), "salts are not an object");
  const leaf = encoder.encode(canonical(value.entry, 0));
  require(leaf.length <= ENTRY_BYTES_MAX, `an entry is larger than ${ENTRY_BYTES_MAX} bytes`);
  requireEnvelope(value.entry);
  const salts = new Map(Object.keys(value.salts).map((field) => [field, decodeBase64(value.salts[field])]));
  return { leaf, envelope: value.entry, proof: parseProof(value.proof), salts };
}

function requireEnvelope(envelope) {
  require(isObject(envelope), "an entry is not an object");
  const fields = "request" in envelope ? ENVELOPE_WITH_REQUEST : ENVELOPE_FIELDS;
  requireFields(envelope, fields, "an entry");
  require(envelope.v === 1, "an entry of a version that is not known here");
  for (const name of ["actor", "id", "kind", "site", "writer", "request"]) {
    require(!(name in envelope) || (isText(envelope[name]) && envelope[name]), `an entry's ${name} is not a text`);
  }
  for (const name of ["at", "seq"]) require(isCount(envelope[name]), `an entry's ${name} is not a count`);
  require(isObject(envelope.body), "an entry's body is not an object");
  require(UUID7.test(envelope.id), "an entry's id is not a UUIDv7");
}

/** The value whose canonical bytes (RFC 8785; integers only, ASCII keys) are exactly these. */
function parseCanonical(bytes) {
  let value;
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    value = JSON.parse(text);
  } catch (error) {
    throw new Invalid(`the file is not JSON: ${error.message}`);
  }
  // Writing it again is the strictest test there is: duplicate keys, white space, escapes and key order all show.
  const again = encoder.encode(canonical(value, 0));
  require(again.length === bytes.length && again.every((byte, i) => byte === bytes[i]), "the file is JSON, but not in canonical form");
  return value;
}

function canonical(value, depth) {
  require(depth <= DEPTH_MAX, `nested deeper than ${DEPTH_MAX}`);
  if (value === null || typeof value === "boolean") return String(value);
  if (typeof value === "string") {
    require(!hasLoneSurrogate(value), "a string holds a lone surrogate");
    return JSON.stringify(value);
  }
  if (typeof value === "number") {
    require(Number.isSafeInteger(value), "a number is not an integer of 53 bits");
    return String(value);
  }
  if (Array.isArray(value)) return `[${value.map((item) => canonical(item, depth + 1)).join(",")}]`;
  const keys = Object.keys(value).sort();
  const members = keys.map((key) => {
    require(/^[\u0000-\u007f]*$/.test(key), "an object key is not ASCII text");
    return `${JSON.stringify(key)}:${canonical(value[key], depth + 1)}`;
  });
  return `{${members.join(",")}}`;
}

function hasLoneSurrogate(text) {
  return /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/.test(text);
}

// -- obligation 3 and 5: notes and keys

/** C2SP signed-note verifier key: name+hex(keyID)+base64(type ‖ key), Ed25519 only. */
async function parseVkey(text) {
  const [name, id, ...rest] = text.split("+");
  require(rest.length > 0 && name && !NO_NAME.test(name), "not a site or log key (name+id+base64)");
  const encoded = rest.join("+"); // base64 may hold '+', names may not
  const key = decodeBase64(encoded);
  require(key.length === 33 && key[0] === 1, "the key is not an Ed25519 key");
  const keyId = (await sha256(concat(encoder.encode(`${name}\n`), key))).slice(0, 4);
  require(hex(keyId) === id, "the key's id does not belong to it");
  return { name, keyId, publicKey: key.slice(1), vkey: text };
}

/** The text of a note that `key` signed. */
async function openNote(note, key, what) {
  const end = note.lastIndexOf("\n\n");
  require(end >= 0 && note.length > end + 2 && note.endsWith("\n"), `the ${what} is not a signed note`);
  const text = note.slice(0, end + 1);
  require(!CONTROL.test(text), `the ${what} holds control characters`);
  const lines = note.slice(end + 2, -1).split("\n");
  require(lines.length <= SIGNATURES_MAX, `the ${what} has too many signatures`);
  const signatures = lines.map(parseSignature);
  let found = false;
  for (const { name, keyId, signature } of signatures) {
    if (name !== key.name || !equal(keyId, key.keyId)) continue; // another signer's, whom we don't know
    // A key that is no point of the curve makes the browser throw: nothing verifies under it.
    const holds = await verifyEd25519(key.publicKey, signature, encoder.encode(text)).catch(() => false);
    require(holds, `the signature of ${name} does not verify`);
    found = true;
  }
  require(found, `the ${what} is not signed by ${key.name}`);
  return text;
}

function parseSignature(line) {
  const match = /^— ([^ ]+) (.*)$/su.exec(line);
  require(match !== null && !NO_NAME.test(match[1]), "a malformed signature line");
  const data = decodeBase64(match[2]);
  require(data.length >= 5, "a signature line without a signature");
  return { name: match[1], keyId: data.slice(0, 4), signature: data.slice(4) };
}

async function openEnrolment(note, siteKey) {
  const lines = (await openNote(note, siteKey, "enrolment")).split("\n");
  require(lines.length === 4 && lines[0] === "sekisho.enrolment/v1" && lines[3] === "", "not an enrolment");
  const logKey = await parseVkey(lines[2]);
  require(logKey.name === lines[1], "the enrolled log key does not bear the origin's name");
  return logKey;
}

async function verifyCheckpoint(receipt, logKey) {
  const note = receipt.entries[0].proof.checkpoint;
  require(receipt.entries.every((entry) => entry.proof.checkpoint === note), "the proofs are against different checkpoints");
  const lines = (await openNote(note, logKey, "checkpoint")).split("\n");
  require(lines.length === 4 && lines[0] && lines[3] === "", "a checkpoint has three lines: origin, size and root");
  require(lines[0] === logKey.name, "the checkpoint is of another origin");
  return { origin: lines[0], size: parseCount(lines[1]), root: parseHash(lines[2]) };
}

// -- obligation 4

function verifyEnvelopes(receipt) {
  const ids = new Set(receipt.entries.map((entry) => entry.envelope.id));
  require(ids.size === receipt.entries.length, "an entry stands in the receipt twice");
  for (const { envelope } of receipt.entries) {
    require(envelope.request === receipt.request, "an entry belongs to another request");
    require(envelope.site === receipt.entries[0].envelope.site, "the entries are of different sites");
  }
}

// -- obligation 6: inclusion (C2SP tlog-proof; RFC 9162 section 2.1.3.2)

function parseProof(text) {
  require(isText(text), "proof is not a text");
  const end = text.indexOf("\n\n");
  require(end >= 0 && text.length > end + 2, "not a tlog-proof");
  const lines = text.slice(0, end).split("\n");
  require(lines.length >= 2 && lines[0] === "c2sp.org/tlog-proof@v1" && lines[1].startsWith("index "), "not a tlog-proof");
  require(lines.length - 2 <= PROOF_HASHES_MAX, "a tlog-proof with too many hashes");
  return { index: parseCount(lines[1].slice(6)), hashes: lines.slice(2).map(parseHash), checkpoint: text.slice(end + 2) };
}

async function verifyInclusions(receipt, { size, root }) {
  let before = -1n;
  for (const { leaf, proof } of receipt.entries) {
    require(proof.index > before, "the entries are not in the log's order");
    before = proof.index;
    await verifyInclusion(proof, size, await sha256(concat(Uint8Array.of(0), leaf)), root);
  }
}

async function verifyInclusion({ index, hashes }, size, leafHash, root) {
  require(index < size, `leaf ${index} is not in a tree of ${size}`);
  let fn = index;
  let sn = size - 1n;
  let result = leafHash;
  for (const sibling of hashes) {
    require(sn > 0n, "the inclusion proof is too long");
    if (fn & 1n || fn === sn) {
      result = await nodeHash(sibling, result);
      while (!(fn & 1n) && fn) {
        fn >>= 1n;
        sn >>= 1n;
      }
    } else {
      result = await nodeHash(result, sibling);
    }
    fn >>= 1n;
    sn >>= 1n;
  }
  require(sn === 0n, "the inclusion proof is too short");
  require(equal(result, root), "the inclusion proof does not lead to the root");
}

function nodeHash(left, right) {
  return sha256(concat(Uint8Array.of(1), left, right));
}

// -- obligations 7 and 8: attempts

function verifyAttempts(entries) {
  let decided = 0;
  let denied = false;
  for (const { envelope } of entries) {
    const { attempt } = envelope.body;
    require(Number.isInteger(attempt), "an entry does not say which attempt it is of");
    if (envelope.kind !== "decision") continue;
    require(!denied, "something was decided after a denial");
    decided += 1;
    require(attempt === decided, `attempt ${decided} is missing`);
    denied = isDenial(envelope.body);
  }
}

function verifyOutcomes(entries) {
  const decisions = new Map();
  const ended = new Set();
  for (const { envelope } of entries) {
    const { body, kind } = envelope;
    if (kind === "decision") {
      decisions.set(envelope.id, body);
      continue;
    }
    require(kind === "outcome", `an entry of the kind ${kind.slice(0, 40)} does not belong in a receipt`);
    const decision = decisions.get(body.decision);
    require(decision !== undefined && decision.attempt === body.attempt, "an outcome has no decision before it");
    require(decision.chosen !== null && !ended.has(body.decision), "a denial has an outcome, or a decision has two");
    ended.add(body.decision);
  }
  for (const [id, body] of decisions) {
    require(body.chosen === null || ended.has(id), `attempt ${body.attempt} has no outcome`);
  }
}

function isDenial(body) {
  require(Object.hasOwn(body, "chosen"), "a decision does not say what was chosen");
  if (body.chosen === null) return true;
  require(
    isObject(body.chosen) && ["action", "deployment"].every((field) => isText(body.chosen[field]) && body.chosen[field]),
    "a decision does not say what was chosen",
  );
  return false;
}

// -- obligation 11: what was chosen

function verifyChoices(entries) {
  for (const { envelope } of entries) if (envelope.kind === "decision") verifyChoice(envelope.body);
}

function verifyChoice(body) {
  const { candidates, chosen } = body;
  const monitored = Object.hasOwn(body, "monitored") ? body.monitored : false;
  require(Array.isArray(candidates), "a decision's candidates are not a list");
  require(typeof monitored === "boolean", "a decision does not say whether it was monitored");
  const groups = candidates.filter(isObject);
  if (chosen === null) {
    require(!monitored, "a denial says that monitor mode let it pass");
    return;
  }
  const named = (group) => Array.isArray(group.deployments) && group.deployments.includes(chosen.deployment);
  const verdicts = groups.filter((group) => group.action === chosen.action && named(group));
  require(verdicts.length === 1, "what was chosen is not among the decision's candidates");
  if (!monitored) {
    require(verdicts[0].permitted === true, "what was chosen was not permitted, and nothing says that it was monitored");
    return;
  }
  const { errors } = verdicts[0];
  require(
    groups.every((group) => group.permitted !== true) && Array.isArray(errors) && errors.length === 0,
    "monitor mode let pass what it may not",
  );
}

// -- obligations 9 and 10: commitments

async function verifyCommitments(entries) {
  for (const { envelope, salts } of entries) {
    const { body } = envelope;
    for (const field of CONTENT_FIELDS) {
      const value = Object.hasOwn(body, field) ? body[field] : null;
      require(value === null || isCommitment(value), `${field} is not a commitment`);
    }
    require(
      envelope.kind !== "decision" || isCommitment(body.received),
      "a decision does not commit to what was received",
    );
    const committed = Object.keys(body).filter((field) => isCommitment(body[field])).sort();
    const salted = [...salts.keys()].sort();
    require(
      committed.length === salted.length && committed.every((field, i) => field === salted[i]),
      "the salts are not those of the entry's commitments",
    );
    for (const [field, salt] of salts) {
      require(
        salt.length === 32 && hex(await sha256(salt)) === body[field].salt_sha256,
        "a salt is not the one that was committed to",
      );
    }
  }
}

async function verifyContent(entries, field, content) {
  const holders = entries.filter((entry) => entry.salts.has(field));
  require(CONTENT_FIELDS.includes(field) && holders.length > 0, `the receipt commits to no content named ${field}`);
  for (const { envelope, salts } of field === "received" ? holders : holders.slice(-1)) {
    const { bytes, sha256: digest } = envelope.body[field];
    require(
      bytes === content.length && digest === hex(await sha256(concat(salts.get(field), content))),
      `the content given as ${field} is not what was committed to`,
    );
  }
}

function isCommitment(value) {
  return (
    isObject(value) &&
    hasFields(value, COMMITMENT_FIELDS) &&
    isCount(value.bytes) &&
    ["salt_sha256", "sha256"].every((field) => isText(value[field]) && HEX64.test(value[field]))
  );
}

// -- values

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isText(value) {
  return typeof value === "string";
}

function isCount(value) {
  return Number.isSafeInteger(value) && value >= 0;
}

function hasFields(value, fields) {
  const keys = Object.keys(value).sort();
  return keys.length === fields.length && keys.every((key, i) => key === fields[i]);
}

function requireFields(value, fields, what) {
  require(hasFields(value, fields), `${what} lacks a field, or has one that it should not have`);
}

function parseCount(text) {
  require(/^(0|[1-9][0-9]{0,18})$/.test(text), "not a decimal number");
  const number = BigInt(text);
  require(number <= COUNT_MAX, "a number beyond 63 bits");
  return number;
}

function parseHash(text) {
  const data = decodeBase64(text);
  require(data.length === 32, "a hash is 32 bytes");
  return data;
}

/** Standard base64 in its one spelling. */
function decodeBase64(text) {
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

function concat(...parts) {
  const joined = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    joined.set(part, offset);
    offset += part.length;
  }
  return joined;
}

function equal(left, right) {
  return left.length === right.length && left.every((byte, i) => byte === right[i]);
}

function hex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// -- WebCrypto

async function sha256(data) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", data));
}

async function verifyEd25519(publicKey, signature, data) {
  const key = await crypto.subtle.importKey("raw", publicKey, { name: "Ed25519" }, false, ["verify"]);
  return crypto.subtle.verify({ name: "Ed25519" }, key, signature, data);
}

/** RFC 8032 section 7.1, test 1: a browser must accept it and refuse it altered, or its verdicts are worth nothing. */
async function requireEd25519() {
  const bytes = (text) => Uint8Array.from(text.match(/../g), (pair) => parseInt(pair, 16));
  const publicKey = bytes("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
  const signature = bytes(
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
  );
  try {
    const empty = new Uint8Array();
    if (!(await verifyEd25519(publicKey, signature, empty))) throw new Unsupported("Ed25519 does not work here");
    if (await verifyEd25519(publicKey, signature, Uint8Array.of(1))) throw new Unsupported("Ed25519 does not work here");
  } catch (error) {
    throw error instanceof Unsupported ? error : new Unsupported("this browser can't check Ed25519 signatures");
  }
}
