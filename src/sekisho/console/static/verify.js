// Verifying a Sekisho receipt in the browser, offline, from the file and what the reader trusts alone.
//
// Written from the formats in ARCHITECTURE.md ("Entries", "Receipts"), C2SP signed-note, tlog-checkpoint, tlog-proof,
// tlog-cosignature and tlog-policy, and RFC 6962. It asks nobody: WebCrypto does SHA-256 and Ed25519. The console's
// pages load these modules; `sekisho verify --html` puts the same text into one file.
// The obligations are numbered as in src/sekisho/ledger/verify.py and discharged in that order; the first that fails
// ends it, as everything after would stand on what does not hold. (11 comes before 10, which needs content to compare.)

import {
  COUNT_MAX, ED25519, Invalid, Unsupported, concat, decodeBase64, encoder, equal, hex, isSignedBy, isText, parseNote,
  parseVkey, require, requireEd25519, sha256, trim,
} from "./notes.js";
import { findSigners, isQuorum, parsePolicy } from "./tlog-policy.js";

export const OBLIGATIONS = [
  { number: 1, code: "form", en: "The file is a receipt in its one canonical form", ja: "ファイルは正規形の受領証である" },
  { number: 2, code: "site-key", en: "Its site key is one that you pinned", ja: "拠点の鍵は、固定した鍵と一致する" },
  { number: 3, code: "enrolment", en: "The site key signed the enrolment of the log key", ja: "台帳の鍵の登録に、拠点の鍵の署名がある" },
  { number: 4, code: "envelope", en: "Every entry is well formed, of this request and of one site", ja: "すべての記録は正しい形式で、このリクエストと一つの拠点に属する" },
  { number: 5, code: "checkpoint", en: "The enrolled log key signed the checkpoint", ja: "チェックポイントに、登録された台帳の鍵の署名がある" },
  { number: 6, code: "inclusion", en: "Every entry is in the log that the checkpoint commits to", ja: "すべての記録は、チェックポイントの台帳に含まれている" },
  { number: 7, code: "attempts", en: "The attempts are numbered without a gap, none that followed is missing, and a denial is the last", ja: "試行の番号に欠番がなく、続いた試行もすべてあり、拒否は最後にある" },
  { number: 8, code: "outcomes", en: "Every permitted attempt has its one outcome, a denial has none", ja: "許可された試行には結果がちょうど一つあり、拒否には結果がない" },
  { number: 9, code: "commitments", en: "Every commitment has its salt, and they fit", ja: "すべてのコミットメントとソルトが対応し、一致する" },
  { number: 10, code: "content", en: "Content that was given is what was committed to", ja: "与えられた内容は、記録された内容と一致する" },
  { number: 11, code: "choice", en: "What was chosen was permitted, or the decision says that monitor mode let it pass", ja: "選ばれた配備先は許可されているか、監視モードで通したと記録されている" },
  { number: 12, code: "signature", en: "No signature of a log or witness of the policy fails", ja: "ポリシーに記載された台帳と証人の署名に、検証に失敗するものはない" },
  { number: 13, code: "log", en: "A log of the policy signed the checkpoint", ja: "チェックポイントに、ポリシーに記載された台帳の署名がある" },
  { number: 14, code: "quorum", en: "The witnesses that cosigned are a quorum of the policy", ja: "連署した証人は、ポリシーの定足数を満たしている" },
];

export const VERIFIED = "verified"; // by a pinned site key, or by a log that the policy lists
export const CONSISTENT = "consistent"; // all holds, but nobody says whose it is
export const INVALID = "invalid";
export const UNMET = "unmet"; // all holds, but it is not what the policy demands
export const UNUSABLE = "unusable"; // a pinned key or the policy is malformed: nothing was checked
export const UNSUPPORTED = "unsupported"; // this browser can't check Ed25519 signatures

const FORMAT = "sekisho.receipt/1";
export const RECEIPT_BYTES_MAX = 32 * 2 ** 20;
const BRACKETS_MAX = 2 ** 20; // thousands for each entry, which has dozens
const ENTRIES_MAX = 256;
const ENTRY_BYTES_MAX = 65535;
const DEPTH_MAX = 64;
const PROOF_HASHES_MAX = 63;
const CONTENT_FIELDS = ["answer", "received", "sent"];
const RECEIPT_FIELDS = ["enrolment", "entries", "format", "request", "site_key"];
const ENTRY_FIELDS = ["entry", "proof", "salts"];
const ENVELOPE_FIELDS = ["actor", "at", "body", "id", "kind", "seq", "site", "v", "writer"];
const ENVELOPE_WITH_REQUEST = [...ENVELOPE_FIELDS, "request"].sort();
const COMMITMENT_FIELDS = ["bytes", "salt_sha256", "sha256"];
const UUID7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const HEX64 = /^[0-9a-f]{64}$/;
/**
 * Verify a receipt.
 *
 * @param {Uint8Array} bytes the file, exactly
 * @param {{trusted?: string[], policy?: Uint8Array|null, content?: Object<string, Uint8Array>}} options pinned site
 *   keys (vkeys), a tlog-policy file, and content to compare, by field: `received`, `sent` or `answer`
 * @returns {Promise<{verdict: string, reason: string, message: string,
 *   obligations: {number: number, code: string, held: boolean|null}[], receipt: object|null, origin: string, size: string,
 *   cosignatures: {name: string, time: bigint}[]}>} `reason` is the code of the obligation that failed, or names what
 *   was unusable (`keys`, `policy`); `held` is null for what was not asked (2 without a pinned key, 10 without
 *   content, 12 to 14 without a policy, 13 without a log in it) or not reached. Never throws for what is in the file.
 */
export async function verifyReceipt(bytes, { trusted = [], policy = null, content = {} } = {}) {
  const held = new Map(OBLIGATIONS.map(({ number }) => [number, null]));
  const result = { verdict: INVALID, reason: "", message: "", receipt: null, origin: "", size: "", cosignatures: [] };
  const end = (verdict, reason, message) => Object.assign(result, { verdict, reason, message });
  let current = 0;
  let asked = "keys";
  const discharge = async (number, check) => {
    current = number;
    const value = await check();
    held.set(number, true);
    return value;
  };
  try {
    await requireEd25519();
    const pinned = await Promise.all(trusted.map((text) => parseVkey(trim(text), ED25519)));
    asked = "policy";
    const parsed = policy === null ? null : await parsePolicy(policy);
    await verifyInOrder(bytes, { pinned, policy: parsed, content }, discharge, result);
    result.verdict = pinned.length || parsed?.logs.length ? VERIFIED : CONSISTENT;
  } catch (error) {
    if (error instanceof Unsupported) {
      end(UNSUPPORTED, "", error.message);
    } else if (!(error instanceof Invalid)) {
      throw error;
    } else if (current === 0) {
      end(UNUSABLE, asked, error.message);
    } else {
      held.set(current, false);
      end(current >= 13 ? UNMET : INVALID, OBLIGATIONS.find(({ number }) => number === current).code, error.message);
    }
  }
  result.obligations = OBLIGATIONS.map(({ number, code }) => ({ number, code, held: held.get(number) }));
  return result;
}

async function verifyInOrder(bytes, { pinned, policy, content }, discharge, result) {
  const receipt = await discharge(1, () => parseReceipt(bytes));
  result.receipt = receipt;
  if (pinned.length) {
    await discharge(2, () =>
      require(
        pinned.some((key) => key.vkey === receipt.siteKey.vkey),
        `the receipt is of the site ${receipt.siteKey.name}, whose key is not among those you trust`,
      ),
    );
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
  if (policy) await verifyPolicy(policy, checkpoint, discharge, result);
}

async function verifyPolicy(policy, { note }, discharge, result) {
  const signers = await discharge(12, () => findSigners(policy, note));
  result.cosignatures = signers.cosignatures;
  if (policy.logs.length) {
    await discharge(13, () =>
      require(signers.logs.length > 0, "the checkpoint is not signed by a log that the policy lists"),
    );
  }
  const { length } = signers.cosignatures;
  await discharge(14, () =>
    require(
      isQuorum(policy, signers.cosignatures.map(({ id }) => id)),
      `the checkpoint is cosigned by ${length} of the policy's ${policy.witnesses.length} witnesses, which are not the quorum`,
    ),
  );
}

// -- obligation 1: the form

async function parseReceipt(bytes) {
  require(bytes.length <= RECEIPT_BYTES_MAX, "the file is larger than 32 MiB");
  const brackets = bytes.reduce((count, byte) => count + (byte === 0x5b || byte === 0x7b), 0);
  require(brackets <= BRACKETS_MAX, "the file is not a receipt: it holds too many arrays and objects");
  const value = parseCanonical(bytes);
  require(isObject(value) && value.format === FORMAT, `the file is not a receipt of the form ${FORMAT}`);
  requireFields(value, RECEIPT_FIELDS, "the receipt");
  for (const field of ["request", "enrolment", "site_key"]) require(isText(value[field]), `${field} is not a text`);
  const entries = value.entries;
  require(
    Array.isArray(entries) && entries.length > 0 && entries.length <= ENTRIES_MAX,
    `a receipt holds 1 to ${ENTRIES_MAX} entries`,
  );
  const siteKey = await parseVkey(value.site_key, ED25519);
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

// -- obligations 3 and 5: whose log

/** The text and the signatures of a note that `key` signed. */
async function openNote(text, key, what) {
  const note = parseNote(text, what);
  require(await isSignedBy(note, key), `the ${what} is not signed by ${key.name}`);
  return note;
}

async function openEnrolment(text, siteKey) {
  const lines = (await openNote(text, siteKey, "enrolment")).text.split("\n");
  require(lines.length === 4 && lines[0] === "sekisho.enrolment/v1" && lines[3] === "", "not an enrolment");
  const logKey = await parseVkey(lines[2], ED25519);
  require(logKey.name === lines[1], "the enrolled log key does not bear the origin's name");
  return logKey;
}

async function verifyCheckpoint(receipt, logKey) {
  const text = receipt.entries[0].proof.checkpoint;
  require(receipt.entries.every((entry) => entry.proof.checkpoint === text), "the proofs are against different checkpoints");
  const note = await openNote(text, logKey, "checkpoint");
  const lines = note.text.split("\n");
  require(lines.length === 4 && lines[0] && lines[3] === "", "a checkpoint has three lines: origin, size and root");
  require(lines[0] === logKey.name, "the checkpoint is of another origin");
  return { note, origin: lines[0], size: parseCount(lines[1]), root: parseHash(lines[2]) };
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
  const decisions = new Map(entries.map(({ envelope }) => [envelope.id, envelope]));
  let decided = 0;
  let denied = false;
  for (const { envelope } of entries) {
    const { body } = envelope;
    const { attempt } = body;
    require(Number.isInteger(attempt), "an entry does not say which attempt it is of");
    if (envelope.kind !== "decision") {
      const next = Object.hasOwn(body, "next") ? decisions.get(body.next) : null;
      const follows = next?.kind === "decision" && next.body.attempt === attempt + 1;
      require(next === null || follows, `attempt ${attempt + 1}, which followed, is missing`);
      continue;
    }
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
