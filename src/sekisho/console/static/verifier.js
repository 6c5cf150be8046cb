// The one-file verifier's own: both languages stand in the page, and the reader picks one.

// A file that misses the place for it would replace the page.
for (const type of ["dragover", "drop"]) document.addEventListener(type, (event) => event.preventDefault());

const buttons = document.querySelectorAll("button[data-language]");

function speak(chosen) {
  document.documentElement.lang = chosen;
  for (const button of buttons) button.hidden = button.dataset.language === chosen;
  document.dispatchEvent(new Event("languageswitch"));
}

for (const button of buttons) button.addEventListener("click", () => speak(button.dataset.language));
speak(navigator.language.startsWith("ja") ? "ja" : "en");
