// Shows what verify.js finds: for the receipt of a request, or for a file that is chosen or dropped.

import { trim } from "./notes.js";
import { POLICY_BYTES_MAX } from "./tlog-policy.js";
import {
  CONSISTENT, INVALID, OBLIGATIONS, RECEIPT_BYTES_MAX, UNMET, UNSUPPORTED, UNUSABLE, VERIFIED, verifyReceipt,
} from "./verify.js";

const CONTENT_BYTES_MAX = 2 ** 30; // as `sekisho verify`: content is held in memory
const KEYS_BYTES_MAX = 64 * 1024;
const COMMAND = "sekisho verify receipt.json --trust site.vkey";
const WORDS = {
  en: {
    [VERIFIED]: "Verified: it is in the log, signed by the site whose key is pinned.",
    vouched: "Verified: it is in a log that the policy lists.",
    stated: "It holds by the key that this installation states itself. Put one from elsewhere to know whose it is.",
    [CONSISTENT]: "Consistent, but no key is pinned: nobody says whose receipt it is.",
    [INVALID]: "Not valid: {message}.",
    [UNMET]: "The receipt holds, but it is not what the policy demands: {message}.",
    [UNUSABLE]: "Nothing was checked: the {what} can't be used: {message}.",
    [UNSUPPORTED]: `Not checked: {message}. Use a newer browser (Chrome or Edge 137, Firefox 129, Safari 17), or run: ${COMMAND}`,
    keys: "site key",
    policy: "policy",
    held: "holds",
    failed: "does not hold",
    skipped: "not checked",
    unreadable: "The file can't be read.",
    log: "Log {origin}, {size} entries at the checkpoint.",
    cosigned: "Cosigned by {names}.",
    request: "Request {request}, site key {key}",
    attempt: "Attempt {attempt}, {time}: ",
    denied: "denied; nothing was sent",
    sent: "{deployment} ({action})",
    monitored: ", which policy denies and monitor mode let pass",
    ended: "; {ended}",
  },
  ja: {
    [VERIFIED]: "検証済み：固定した鍵の拠点が署名した台帳に含まれています。",
    vouched: "検証済み：ポリシーに記載された台帳に含まれています。",
    stated: "この設備自身が示す鍵のもとで、すべて成立しています。発行者を確かめるには、別の経路で入手した鍵を入れてください。",
    [CONSISTENT]: "整合していますが、鍵が固定されていないため、発行者は確認できません。",
    [INVALID]: "無効です：{message}",
    [UNMET]: "受領証は成立していますが、ポリシーの条件を満たしていません：{message}",
    [UNUSABLE]: "検証していません。{what}を使用できません：{message}",
    [UNSUPPORTED]: `検証できません：{message}。新しいブラウザー（Chrome・Edge 137、Firefox 129、Safari 17 以降）を使うか、${COMMAND} を実行してください。`,
    keys: "拠点の鍵",
    policy: "ポリシー",
    held: "成立",
    failed: "不成立",
    skipped: "未確認",
    unreadable: "ファイルを読み取れません。",
    log: "台帳 {origin}、チェックポイント時点で {size} 件。",
    cosigned: "連署した証人：{names}",
    request: "リクエスト {request}、拠点の鍵 {key}",
    attempt: "試行 {attempt}（{time}）：",
    denied: "拒否。何も送信されていません",
    sent: "{deployment}（{action}）",
    monitored: "。ポリシーでは拒否ですが、監視モードのため送信されました",
    ended: "。結果：{ended}",
  },
};
const CLASSES = {
  [VERIFIED]: "good", [CONSISTENT]: "fair", [UNMET]: "fair", [INVALID]: "bad", [UNUSABLE]: "bad", [UNSUPPORTED]: "fair",
};
const TEXT_MAX = 120;

const language = () => (document.documentElement.lang === "ja" ? "ja" : "en"); // a page may switch it

function element(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

/** A phrase with its holes filled. */
function say(key, values = {}) {
  return WORDS[language()][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

/** Text of a receipt: nothing invisible, and nothing that turns the writing direction. */
function clean(value) {
  const text = String(value).replace(/\p{C}/gu, "�");
  return text.length <= TEXT_MAX ? text : `${text.slice(0, TEXT_MAX)}…`;
}

function verdictWords(section, result) {
  let words = result.verdict;
  if (words === VERIFIED) {
    // The key that stands there at first came with the page: it can't say whose page that is.
    const key = section.querySelector(".site-key");
    const pinned = parseKeys(key.value).length > 0 && key.value.trim() !== key.defaultValue.trim();
    const listed = result.obligations.find(({ code }) => code === "log").held;
    if (!pinned) words = listed ? "vouched" : "stated";
  }
  return say(words, { message: clean(result.message), what: result.verdict === UNUSABLE ? say(result.reason) : "" });
}

function show(section, result) {
  const verdict = element("p", `outcome ${CLASSES[result.verdict]}`, verdictWords(section, result));
  const list = element("ol", "obligations");
  for (const [index, { held }] of result.obligations.entries()) {
    const state = held === null ? "skipped" : held ? "held" : "failed";
    list.append(element("li", state, element("span", "mark", say(state)), OBLIGATIONS[index][language()]));
  }
  const parts = [verdict, list];
  const help = (text) => parts.push(element("p", "help", text));
  if (result.origin) help(say("log", { origin: clean(result.origin), size: result.size }));
  if (result.cosignatures.length) {
    const names = result.cosignatures.map(({ name, time }) => `${name} (${timeText(Number(time) * 1000)})`);
    help(say("cosigned", { names: names.join(", ") }));
  }
  if ([VERIFIED, CONSISTENT, UNMET].includes(result.verdict) && "facts" in section.dataset) parts.push(facts(result));
  const target = section.querySelector(".verification");
  target.replaceChildren(...parts);
  target.dataset.verdict = result.verdict;
  target.dataset.reason = result.reason;
}

/** What the receipt says: the request, and what was decided about it. */
function facts({ receipt }) {
  const outcomes = new Map(receipt.entries.map(({ envelope }) => [envelope.body.decision, envelope.body]));
  const attempts = receipt.entries
    .filter(({ envelope }) => envelope.kind === "decision")
    .map(({ envelope: { at, body, id } }) => {
      const { attempt, chosen } = body;
      const words = [say("attempt", { attempt, time: timeText(at / 1000) })];
      if (chosen === null) words.push(say("denied"));
      else words.push(say("sent", { deployment: clean(chosen.deployment), action: clean(chosen.action) }));
      if (body.monitored === true) words.push(say("monitored"));
      const outcome = outcomes.get(id);
      if (outcome) words.push(say("ended", { ended: [outcome.ended, outcome.status].filter(isPlain).map(clean).join(" ") }));
      return element("li", "", words.join(""));
    });
  const title = say("request", { request: clean(receipt.request), key: clean(receipt.siteKey.name) });
  return element("div", "facts", element("p", "", title), element("ul", "", ...attempts));
}

function isPlain(value) {
  return typeof value === "string" || typeof value === "number";
}

function timeText(milliseconds) {
  const date = new Date(milliseconds);
  return Number.isNaN(date.getTime()) ? "?" : date.toISOString().replace("T", " ").replace(/\.\d+Z/, " UTC");
}

/** Keys, one a line; empty lines and comments are passed over, as in a file of keys. */
function parseKeys(text) {
  return text.split("\n").map(trim).filter((line) => line && !line.startsWith("#"));
}

/** A file's bytes, of a larger one a byte more than allowed, so that it shows. Throws where it can't be read (any more). */
async function read(file, bytesMax) {
  return new Uint8Array(await file.slice(0, bytesMax + 1).arrayBuffer());
}

/** A text field that a file may fill. Its bytes are the file's own until somebody types: octets and line ends count. */
function fillable(field, chooser, bytesMax, changed, failed) {
  let bytes = null;
  field?.addEventListener("input", () => {
    bytes = null;
  });
  field?.addEventListener("change", changed);
  chooser?.addEventListener("change", async () => {
    if (!chooser.files[0]) return;
    bytes = new Uint8Array(); // no policy at all must not stand in for one that can't be read
    field.value = "";
    try {
      bytes = await read(chooser.files[0], bytesMax);
    } catch {
      failed();
      return;
    }
    field.value = new TextDecoder().decode(bytes);
    await changed();
  });
  return () => bytes ?? (field?.value.trim() ? new TextEncoder().encode(field.value) : null);
}

function animate(section) {
  const find = (selector) => section.querySelector(selector);
  let bytes = null;
  let result = null;
  let turns = 0;
  const verified = async () => {
    const content = {};
    for (const { dataset, files } of section.querySelectorAll(".content-file")) {
      if (files[0]) content[dataset.field] = await read(files[0], CONTENT_BYTES_MAX);
    }
    const trusted = parseKeys(find(".site-key").value);
    return verifyReceipt(bytes, { trusted, policy: policyBytes(), content });
  };
  /** Nothing that was found before may stand there any more. */
  const fail = () => {
    result = null;
    turns += 1;
    const target = find(".verification");
    target.replaceChildren(element("p", "outcome bad", say("unreadable")));
    delete target.dataset.verdict;
    delete target.dataset.reason;
  };
  const check = async () => {
    if (bytes === null) return;
    turns += 1;
    const turn = turns;
    let found = null;
    try {
      found = await verified();
    } catch (error) {
      if (turn === turns) fail(); // a file changed or went since it was chosen, or is too large for this browser
      console.error(error);
      return;
    }
    if (turn !== turns) return; // something was given anew meanwhile: its own check shows what it finds
    result = found;
    show(section, result);
  };
  const policyBytes = fillable(find(".policy"), find(".policy-file"), POLICY_BYTES_MAX, check, fail);
  fillable(find(".site-key"), find(".site-key-file"), KEYS_BYTES_MAX, check, fail);
  for (const chooser of section.querySelectorAll(".content-file")) chooser.addEventListener("change", check);
  document.addEventListener("languageswitch", () => result && show(section, result));
  const use = async (source) => {
    try {
      bytes = await source();
    } catch {
      bytes = null;
      fail();
      return;
    }
    await check();
  };
  const chooser = find(".receipt-file");
  chooser?.addEventListener("change", () => chooser.files[0] && use(() => read(chooser.files[0], RECEIPT_BYTES_MAX)));
  const place = find(".drop");
  place?.addEventListener("dragover", (event) => {
    event.preventDefault();
    place.classList.add("over");
  });
  place?.addEventListener("dragleave", () => place.classList.remove("over"));
  place?.addEventListener("drop", (event) => {
    event.preventDefault();
    place.classList.remove("over");
    if (event.dataTransfer.files[0]) use(() => read(event.dataTransfer.files[0], RECEIPT_BYTES_MAX));
  });
  if (section.dataset.receipt) use(() => fetched(section.dataset.receipt));
}

async function fetched(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  return new Uint8Array(await answer.arrayBuffer());
}

document.querySelectorAll(".verifier").forEach(animate);
