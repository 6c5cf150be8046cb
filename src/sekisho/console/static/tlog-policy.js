// C2SP tlog-policy: which logs, and how many witnesses, somebody demands of a checkpoint. As ledger/tlog_policy.py.
//
// The file is octets; names are compared octet by octet. Here each octet of a line is one character.

import { COSIGNATURE, ED25519, Invalid, cosignedAt, isSignedBy, parseVkey, require } from "./notes.js";

export const POLICY_BYTES_MAX = 256 * 1024;
const LINES_OF_A_KIND_MAX = 256;
const NONE = "none";
const FORBIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f]/;

/** Read a policy file (Uint8Array); an error names the line. */
export async function parsePolicy(bytes) {
  require(bytes.length <= POLICY_BYTES_MAX, "the policy is larger than 256 KiB");
  const policy = { logs: [], witnesses: [], groups: [], quorum: null };
  const state = { policy, names: new Set([NONE]), members: new Set() };
  for (const [index, line] of octets(bytes).split("\n").entries()) {
    const found = FORBIDDEN.exec(line);
    const what = found?.[0] === "\r" ? "a carriage return" : "a control character";
    require(found === null, `line ${index + 1} holds ${what}`);
    const [keyword, ...words] = line.replace(/^[ \t]+|[ \t]+$/g, "").split(/[ \t]+/);
    if (!keyword || keyword.startsWith("#")) continue;
    try {
      require(Object.hasOwn(LINES, keyword), `${shown(keyword)} is not understood`);
      await LINES[keyword](state, words);
    } catch (error) {
      throw error instanceof Invalid ? new Invalid(`line ${index + 1}: ${error.message}`) : error;
    }
  }
  require(policy.quorum !== null, "the policy has no quorum line");
  return policy;
}

/** Whether the witnesses of these names are enough. */
export function isQuorum(policy, names) {
  const met = new Set(names);
  for (const { name, threshold, members } of policy.groups) {
    if (members.filter((member) => met.has(member)).length >= threshold) met.add(name); // members stand before it
  }
  return policy.quorum === NONE || met.has(policy.quorum);
}

/** The logs of the policy that signed the note, and its witnesses that cosigned. Refused if one's signature fails. */
export async function findSigners(policy, note) {
  const [origin] = note.text.split("\n", 1);
  const logs = [];
  for (const key of policy.logs) if (key.name === origin && (await isSignedBy(note, key))) logs.push(key);
  const cosignatures = [];
  for (const { name, key } of policy.witnesses) {
    const time = await cosignedAt(note, key);
    if (time !== null) cosignatures.push({ id: name, name: shown(name), time });
  }
  return { logs, cosignatures };
}

const LINES = {
  async log({ policy }, words) {
    require(words.length === 1 || words.length === 2, "a log is written: log <vkey> [<url>]");
    const key = await parseVkey(utf8(words[0]), ED25519);
    require(!policy.logs.some((other) => isSameKey(other, key)), "this log's key stands in the policy twice");
    requireRoom(policy.logs);
    policy.logs.push(key);
  },

  async witness(state, words) {
    require(words.length === 2 || words.length === 3, "a witness is written: witness <name> <vkey> [<url>]");
    const { witnesses } = state.policy;
    const key = await parseVkey(utf8(words[1]), COSIGNATURE);
    require(!witnesses.some((other) => isSameKey(other.key, key)), "this witness's key stands in the policy twice");
    requireRoom(witnesses);
    define(state, words[0]);
    witnesses.push({ name: words[0], key });
  },

  group(state, words) {
    require(words.length >= 3, "a group is written: group <name> <k>|any|all <member>...");
    const [name, count, ...members] = words;
    const threshold = parseThreshold(count, members.length);
    requireRoom(state.policy.groups);
    for (const member of members) {
      requireDefined(state, member, member !== NONE);
      require(!state.members.has(member), `${shown(member)} is a member of a group already`);
      state.members.add(member);
    }
    define(state, name);
    state.policy.groups.push({ name, threshold, members });
  },

  quorum(state, words) {
    require(words.length === 1, "a quorum is written: quorum <name>, or: quorum none");
    require(state.policy.quorum === null, "a second quorum line");
    requireDefined(state, words[0]);
    [state.policy.quorum] = words;
  },
};

function define({ names }, name) {
  require(!names.has(name), `the name ${shown(name)} is taken already`);
  names.add(name);
}

function requireDefined({ names }, name, allowed = true) {
  require(allowed && names.has(name), `no witness or group before this line is named ${shown(name)}`);
}

function requireRoom(lines) {
  require(lines.length < LINES_OF_A_KIND_MAX, `more than ${LINES_OF_A_KIND_MAX} lines of this kind`);
}

function parseThreshold(word, members) {
  if (word === "any" || word === "all") return word === "any" ? 1 : members;
  require(
    /^[1-9][0-9]{0,3}$/.test(word) && Number(word) <= members,
    `${shown(word)} is not any, all or a number from 1 to ${members} (its members)`,
  );
  return Number(word);
}

function isSameKey(left, right) {
  return left.publicKey.every((byte, i) => byte === right.publicKey[i]);
}

function octets(bytes) {
  return Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
}

function toBytes(word) {
  return Uint8Array.from(word, (character) => character.charCodeAt(0));
}

/** A key's text: no signed note could bear a name that is not UTF-8. */
function utf8(word) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(toBytes(word));
  } catch {
    throw new Invalid("the key's name is not UTF-8");
  }
}

/** A name as people may see it. */
function shown(word) {
  const text = new TextDecoder().decode(toBytes(word)).replace(/\p{C}/gu, "�");
  return text.length <= 60 ? text : `${text.slice(0, 60)}…`;
}
