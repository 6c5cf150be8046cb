// Times in the reader's own zone; the page gives them in UTC, which stays as the tooltip. And forms that ask for days
// tell which zone's.

const zone = new Intl.DateTimeFormat("en", { timeZoneName: "short" });

function local(date) {
  const two = (number) => String(number).padStart(2, "0");
  const day = [date.getFullYear(), two(date.getMonth() + 1), two(date.getDate())].join("-");
  const time = [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(":");
  const name = zone.formatToParts(date).find((part) => part.type === "timeZoneName").value;
  return `${day} ${time} ${name}`;
}

for (const time of document.querySelectorAll("time[datetime]")) {
  time.title = time.textContent;
  time.textContent = local(new Date(time.dateTime));
}

function offset() {
  const minutes = -new Date().getTimezoneOffset();
  const two = (number) => String(number).padStart(2, "0");
  return `${minutes < 0 ? "-" : "+"}${two(Math.floor(Math.abs(minutes) / 60))}:${two(Math.abs(minutes) % 60)}`;
}

for (const field of document.querySelectorAll("input.zone")) field.value = offset();
