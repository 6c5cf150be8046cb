// The address that `sekisho up` prints carries the token behind '#', which no browser sends or logs. Put it into the
// form and take it out of the address; a person still presses the button.

function take() {
  const token = location.hash.slice(1);
  if (token) {
    document.getElementById("token").value = token;
    history.replaceState(null, "", location.pathname + location.search);
    document.querySelector("form.card button").focus();
  }
}

addEventListener("hashchange", take); // pasted into a tab that shows this page already
take();
