// Shows what verify.js finds: for the receipt of a request, or for a file that is chosen or dropped.

import { CONSISTENT, INVALID, OBLIGATIONS, UNSUPPORTED, VERIFIED, verifyReceipt } from "./verify.js";

const language = document.documentElement.lang === "ja" ? "ja" : "en";
const WORDS = {
  en: {
    [VERIFIED]: "Verified: it is in the log, signed by the site whose key is pinned.",
    stated: "It holds by the key that this installation states itself. Put one from elsewhere to know whose it is.",
    [CONSISTENT]: "Consistent, but no key is pinned: nobody says whose receipt it is.",
    [INVALID]: "Not valid: {reason}.",
    [UNSUPPORTED]: "Not checked: {reason}. Run: sekisho verify receipt.json --trust site.vkey",
    held: "holds",
    failed: "does not hold",
    skipped: "not checked",
    unreadable: "The file can't be read.",
    log: "Log {origin}, {size} entries at the checkpoint.",
  },
  ja: {
    [VERIFIED]: "検証済み：固定した鍵の拠点が署名した台帳に含まれています。",
    stated: "この設備自身が示す鍵のもとで、すべて成立しています。発行者を確かめるには、別の経路で入手した鍵を入れてください。",
    [CONSISTENT]: "整合していますが、鍵が固定されていないため、発行者は確認できません。",
    [INVALID]: "無効です：{reason}",
    [UNSUPPORTED]: "検証できません：{reason}。sekisho verify receipt.json --trust site.vkey を実行してください。",
    held: "成立",
    failed: "不成立",
    skipped: "未確認",
    unreadable: "ファイルを読み取れません。",
    log: "台帳 {origin}、チェックポイント時点で {size} 件。",
  },
}[language];
const CLASSES = { [VERIFIED]: "good", [CONSISTENT]: "fair", [INVALID]: "bad", [UNSUPPORTED]: "fair" };

function element(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

function show(section, result) {
  const fill = (text) => text.replace(/\{(\w+)\}/g, (_, key) => result[key]);
  // The key that stands there at first came with the page: it can't say whose page that is.
  const key = section.querySelector(".site-key");
  const stated = result.verdict === VERIFIED && key.value.trim() === key.defaultValue.trim();
  const words = fill(WORDS[stated ? "stated" : result.verdict]);
  const verdict = element("p", `outcome ${CLASSES[result.verdict]}`, words);
  const list = element("ol", "obligations");
  for (const { number, held } of result.obligations) {
    const state = held === null ? "skipped" : held ? "held" : "failed";
    const title = OBLIGATIONS.find((obligation) => obligation.number === number)[language];
    list.append(element("li", state, element("span", "mark", WORDS[state]), title));
  }
  const parts = [verdict, list];
  if (result.origin) parts.push(element("p", "help", fill(WORDS.log)));
  const target = section.querySelector(".verification");
  target.replaceChildren(...parts);
  target.dataset.verdict = result.verdict;
}

async function verify(section, bytes) {
  const pinned = section.querySelector(".site-key").value.trim();
  show(section, await verifyReceipt(bytes, { trusted: pinned ? [pinned] : [] }));
}

async function fetched(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  return new Uint8Array(await answer.arrayBuffer());
}

function animate(section) {
  let bytes = null;
  const use = async (source) => {
    try {
      bytes = await source();
    } catch {
      bytes = null;
      section.querySelector(".verification").replaceChildren(element("p", "outcome bad", WORDS.unreadable));
      return;
    }
    await verify(section, bytes);
  };
  const useFile = (file) => use(async () => new Uint8Array(await file.arrayBuffer()));
  section.querySelector(".site-key").addEventListener("change", () => bytes && verify(section, bytes));
  const chooser = section.querySelector(".receipt-file");
  chooser?.addEventListener("change", () => chooser.files[0] && useFile(chooser.files[0]));
  const place = section.querySelector(".drop");
  place?.addEventListener("dragover", (event) => {
    event.preventDefault();
    place.classList.add("over");
  });
  place?.addEventListener("dragleave", () => place.classList.remove("over"));
  place?.addEventListener("drop", (event) => {
    event.preventDefault();
    place.classList.remove("over");
    if (event.dataTransfer.files[0]) useFile(event.dataTransfer.files[0]);
  });
  if (section.dataset.receipt) use(() => fetched(section.dataset.receipt));
}

document.querySelectorAll(".verifier").forEach(animate);
